"""Images and attention over them: overlays, and rows of pictures with their captions.

People are taller than wide, so a swapped axis is a likely mistake: shapes are compared and named, never guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from casnkit.figures import style
from casnkit.figures.style import figure_style, fold, new_figure, short

SCALES = {"own maximum": "each map divided by its own maximum", "shared": "both maps divided by the larger maximum"}
_GAP, _RIM = 0.16, 0.04  # shares of a tile's width: between tiles, from image to frame
_SHARE = (style.ATTENTION_COLOURS, 0, 1, "share of maximum")


def to_array(values: Any) -> np.ndarray:
    """A numpy view of an array, a sequence or a tensor on any device, without its graph."""
    try:
        if isinstance(values, torch.Tensor):
            values = values.detach().cpu()
            values = values.float() if values.dtype == torch.bfloat16 else values
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # sparse or meta tensors, lists of unequal length
        raise ValueError(f"expected an array or a dense tensor, got a {type(values).__name__}: {error}") from error


def as_image(image: Any, name: str = "image") -> np.ndarray:
    """An image as (H, W, 3) uint8: from a PIL image, a (H, W, 3) or (H, W) uint8 array, or a (3, H, W) uint8 tensor."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    found = to_array(image)
    array = np.stack([found] * 3, -1) if found.ndim == 2 else found
    if isinstance(image, torch.Tensor) and found.ndim == 3:
        array = found.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        wanted = "a PIL image, a (H, W, 3) array or a (3, H, W) tensor of uint8 values"
        hint = "undo a normalisation and multiply by 255 first"
        raise ValueError(f"{name}: expected {wanted}, got {found.dtype} of shape {found.shape}; {hint}")
    return array


def as_images(images: Sequence) -> list[np.ndarray]:
    """Images as :func:`as_image` reads them."""
    return [as_image(image, f"image {i}") for i, image in enumerate(images)]


def as_map(values: Any, name: str = "attention") -> np.ndarray:
    """A map as (h, w) float64, from (h, w) or (1, h, w); another shape, NaN or infinity raise a ``ValueError``."""
    array = to_array(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected real numbers, got {array.dtype}")
    array = array.astype(np.float64)
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        found = f"shape {array.shape}" if array.ndim != 2 or not array.size else "NaN or infinity"
        raise ValueError(f"{name}: expected finite values in one map of shape (h, w), got {found}; index a batch first")
    return array


def as_mask(values: Any, image: np.ndarray) -> np.ndarray:
    """A mask as (H, W) float64; another size than that of ``image`` (H, W, 3) raises a ``ValueError``."""
    mask = as_map(values, "mask")
    if mask.shape != image.shape[:2]:
        hint = "; height and width are swapped" if mask.shape == image.shape[1::-1] else ""
        raise ValueError(f"mask: expected the image's size (H, W) = {image.shape[:2]}, got {mask.shape}{hint}")
    return mask


def scaled(attention: np.ndarray, maximum: float | None = None) -> np.ndarray:
    """Divide by ``maximum`` (default: the map's own) and clip to [0, 1]; a map without positive values becomes zero."""
    maximum = float(attention.max()) if maximum is None else maximum
    return np.clip(attention / maximum, 0, 1) if maximum > 0 else np.zeros_like(attention)


def upsample(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres aligned as in the network's own upsampling: (h, w) -> (height, width)."""
    values = torch.from_numpy(np.ascontiguousarray(attention))[None, None]
    return F.interpolate(values, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def overlay(
    image: Any, attention: Any, opacity: float = 0.55, colormap: str = "inferno", vmax: float | None = None
) -> np.ndarray:
    """An attention map (h, w) of any scale laid over its image, upsampled bilinearly: (H, W, 3) uint8.

    ``opacity``, in [0, 1], is the map's share in the mixture at two fifths of its range and rises with it: the picture
    stays legible where the map is silent. ``vmax`` (default: the map's maximum) is brightest; values below 0 are dark.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1], got {opacity}")
    pixels = as_image(image)
    values = upsample(scaled(as_map(attention), vmax), *pixels.shape[:2])
    share = np.minimum(opacity * (2 / 3 + 5 / 6 * values), 1)[:, :, None]
    colours = 255 * matplotlib.colormaps[colormap](values)[..., :3]
    return ((1 - share) * pixels + share * colours).round().astype(np.uint8)


def outlined(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """``image`` (H, W, 3) with the outline of ``mask`` (H, W), white on black so that it shows on any picture."""
    if mask is None:
        return image
    inside, drawn = as_mask(mask, image) > 0.5, image.copy()
    drawn[inside & ~binary_erosion(inside)], drawn[binary_dilation(inside) & ~inside] = 255, 0
    return drawn


@dataclass
class Row:
    """Pictures side by side (None leaves a place empty) with what is written around them."""

    images: Sequence[np.ndarray | None]
    heads: Sequence[str] = ()  # one above each picture
    captions: Sequence[str] = ()  # one below each, maybe of several lines
    label: str = ""  # left of the row
    title: str = ""  # above the row
    frames: Sequence[tuple[str, Any, float]] = ()  # colour, line style and width around each

    @property
    def tall(self) -> float:
        """Height of the tallest picture at width 1."""
        return max(image.shape[0] / image.shape[1] for image in self.images if image is not None)


def draw_row(ax: Axes, row: Row, columns: int) -> None:
    """Draw ``row`` into ``ax``, whose unit is a picture's width; all stand on one line."""
    tall, rim = row.tall, _RIM if row.frames else 0
    look = {"textcoords": "offset points", "ha": "center", "linespacing": 1.15}
    for column, image in enumerate(row.images):
        if image is None:
            continue
        left, high = column * (1 + _GAP), image.shape[0] / image.shape[1]
        ax.imshow(image, extent=(left, left + 1, tall, tall - high), interpolation="antialiased")
        colour, line, width = row.frames[column] if row.frames else (style.LIGHT, "-", 0.8)
        border = {"edgecolor": colour, "linestyle": line, "linewidth": width, "fill": False, "clip_on": False}
        ax.add_patch(Rectangle((left - rim, tall - high - rim), 1 + 2 * rim, high + 2 * rim, **border))
        if row.heads:
            bold = {"color": colour, "weight": "bold"} if row.frames else {"size": style.SMALL}
            ax.annotate(row.heads[column], (left + 0.5, 0), (0, 7), va="baseline", **look, **bold)
        if row.captions:
            ax.annotate(row.captions[column], (left + 0.5, tall), (0, -6), va="top", size=style.SMALL, **look)
    ax.annotate(row.label, (0, tall / 2), (-8, 0), va="center", size=style.SMALL, **(look | {"ha": "right"}))
    ax.set_title(row.title, pad=24)
    ax.set_axis_off()
    ax.set(xlim=(-_RIM, columns * (1 + _GAP) - _GAP + _RIM), ylim=(tall, 0), aspect="equal")


@figure_style()
def sheet(rows: list, title: str, columns: int = 0, widest: float = 1.45, bars: Any = (), keys: Any = ()) -> Figure:
    """Rows of pictures, one below the other, at one scale: each at most ``widest`` inches wide, ``columns`` in a row.

    ``bars``: colour bars below, each as colours, lowest and highest value, and label; ``keys``: handles of a legend below.
    """
    columns = columns or max(len(row.images) for row in rows)
    labels = [fold(row.label, 12, 3) for row in rows]
    beside = 0.3 + 0.08 * max(len(line) for label in labels for line in label.split("\n"))
    units = columns * (1 + _GAP) - _GAP
    tile = min(widest, (style.PAGE_WIDTH - beside) / units)
    width = min(style.PAGE_WIDTH, max(beside + units * tile, 0.12 * len(title), 5.0 if keys else 0))
    letters = 13 * tile * (1 + _GAP)
    lines = 2.2 * bool(title) + 4 * bool(bars) + 1.4 * -(-len(keys) // 3)  # of text
    for row, row.label in zip(rows, labels, strict=True):
        row.heads = [fold(head, letters) for head in row.heads]
        row.captions = ["\n".join(short(line, letters) for line in text.split("\n")) for text in row.captions]
        row.title = short(row.title, 11 * width)
        lines += 1 + 1.6 * bool(row.title)
        lines += sum(max((text.count("\n") + 1 for text in texts), default=0) for texts in (row.heads, row.captions))
    tall = [row.tall for row in rows]
    figure = new_figure(width, tile * sum(tall) + 0.155 * lines + 0.2, title, layout="compressed")
    figure.get_layout_engine().set(hspace=0)
    axes = figure.subplots(len(rows), 1, squeeze=False, height_ratios=tall)[:, 0]
    for ax, row in zip(axes, rows, strict=True):
        draw_row(ax, row, columns)
    for bar in bars:
        colour_bar(axes, *bar, shrink=1.6 / width, aspect=16, anchor=(0, 0.5), pad=0.02)
    if keys:
        figure.legend(handles=keys, loc="outside lower left", ncols=3, handlelength=2, columnspacing=1.4)
    return figure


def colour_bar(axes: Any, colours: str, low: float, high: float, label: str = "", **place: Any) -> None:
    """A horizontal colour bar below one or several axes, with its ends as ticks."""
    place |= {"ticks": sorted({low, max(low, 0), high}), "format": "%.2g", "label": label, "location": "bottom"}
    bar = np.atleast_1d(axes)[0].figure.colorbar(ScalarMappable(Normalize(low, high), colours), ax=axes, **place)
    bar.outline.set_linewidth(0.5)


def _table(named: Mapping[str, Sequence], labels: Sequence[str] | None, title: str, **look: Any) -> Figure:
    """Named columns of pictures: the names above the first row, a label before each row."""
    pictures = list(zip(*named.values(), strict=True))
    rows = [Row(row, label=label) for row, label in zip(pictures, labels or [""] * len(pictures), strict=True)]
    rows[0].heads = list(named)
    return sheet(rows, title, **look)


def show_batch(images: Sequence, captions: Any = None, columns: int = 8, title: str = "", bars: Any = ()) -> Figure:
    """A contact sheet: images as :func:`as_image` reads them, in reading order, captions below, ``columns`` in a line."""
    told = list(zip(as_images(images), captions or [""] * len(images), strict=True))
    lines = [zip(*told[start : start + columns], strict=True) for start in range(0, len(told), columns)]
    return sheet([Row(own, captions=[*map(str, texts)]) for own, texts in lines], title, widest=1.2, bars=bars)


def show_channels(image: Any, maps: Any, captions: Any, signed: bool = False, title: str = "Channels") -> Figure:
    """An image and N maps (h, w) of it, all on one scale, each with a caption: channels of A, or sums of them.

    Maps lie over the image, negative values as zero; ``signed`` ones stand alone, in diverging colours around zero.
    """
    picture, values = as_image(image), [as_map(m, f"map {i}") for i, m in enumerate(maps)]
    limit = max((float(np.abs(v).max() if signed else v.max()) for v in values), default=0) or 1.0
    bar, shown = (style.ATTENTION_COLOURS, 0, limit), [overlay(picture, v, vmax=limit) for v in values]
    if signed:
        bar, colours = (style.DIFFERENCE_COLOURS, -limit, limit), matplotlib.colormaps[style.DIFFERENCE_COLOURS]
        cells = [Image.fromarray(colours(v / limit / 2 + 0.5, bytes=True)[..., :3]) for v in values]
        shown = [np.asarray(cell.resize(picture.shape[1::-1], Image.Resampling.NEAREST)) for cell in cells]
    title = f"{title} \u00b7 one scale for all maps"
    return show_batch([picture, *shown], ["image", *captions], title=title, bars=[(*bar, "value")])


def show_identification(images: Any, maps: Any, masks: Any, masked_images: Any, labels: Any, title: str) -> Figure:
    """Identification attention at work (paper 3.1.2), a row per image: image, map, soft mask, what it leaves.

    Raw maps (h, w), soft masks (H, W) in [0, 1]; ``labels`` say whose score was differentiated: ``"id 12, p = 0.97"``.
    """
    pictures, colours = as_images(images), matplotlib.colormaps[style.MASK_COLOURS]
    columns = {"image": pictures, "attention": list(map(overlay, pictures, maps))}
    columns["soft mask S"] = [colours(soft, bytes=True)[..., :3] for soft in map(as_mask, masks, pictures)]
    columns["image \u00d7 (1 \u2212 S)"] = as_images(masked_images)
    bars = [_SHARE, (style.MASK_COLOURS, 0, 1, "mask value")]
    return _table(columns, labels, f"{title} \u00b7 {SCALES['own maximum']}", bars=bars)


def show_maps(images: Any, maps_by_name: Mapping, masks: Any = None, labels: Any = None, title: str = "Maps") -> Figure:
    """N images in rows, method -> N maps (h, w) of any resolution in columns; each is divided by its own maximum.

    N person masks (H, W), bool, are drawn as outlines, None where there is none; N row labels.
    """
    maps = {name: [[values] for values in maps] for name, maps in maps_by_name.items()}
    outlines = None if masks is None else [[mask] for mask in masks]
    heading = f"{title} \u00b7 {SCALES['own maximum']}"
    return _methods([[image] for image in images], maps, outlines, labels, heading, "image", 100)


def show_gallery_of_methods(
    pairs: Any, maps_by_method: Mapping, labels: Any = None, masks: Any = None, title: str = "Explanations of pairs"
) -> Figure:
    """:func:`show_maps` for P pairs of images, of maps and of masks: both images of a pair in one place.

    Each method has one scale for a pair, from zero to the 99th percentile: single pixels would darken the rest.
    """
    heading = f"{title} \u00b7 values above zero, one scale per pair and method"
    return _methods(pairs, maps_by_method, masks, labels, heading, "pair", 99)


def _methods(groups: Any, methods: Mapping, masks: Any, labels: Any, title: str, head: str, brightest: int) -> Figure:
    """A row per group of one or two images, a column per method; a percentile of all maps is the brightest colour."""
    pictures = [as_images(group) for group in groups]
    masks = [(None, None) if mask is None else mask for mask in masks or [None] * len(groups)]
    columns = {head: list(map(_side_by_side, pictures, masks))}
    for name, maps in methods.items():
        laid = []
        for group, raw in zip(pictures, maps, strict=True):
            values = [as_map(m).clip(0) for m in raw]
            joined = np.concatenate([v.ravel() for v in values])
            top = float(np.percentile(joined, brightest)) or float(joined.max())
            laid.append([overlay(image, v, vmax=top) for image, v in zip(group, values, strict=True)])
        columns[str(name).replace("-", " ")] = list(map(_side_by_side, laid, masks))
    share = "share of maximum" if brightest == 100 else f"share of {brightest}th percentile"
    return _table(columns, labels, title, bars=[(*_SHARE[:3], share)])


def _side_by_side(images: Sequence[np.ndarray], masks: Sequence) -> np.ndarray:
    """Images (H, W, 3), outlined, at the height of the first, with a seam of four pixels between them."""
    parts, seam = [], np.full((len(images[0]), 4, 3), 255, np.uint8)
    for image, mask in zip(images, masks, strict=False):
        size = round(image.shape[1] * len(seam) / len(image)), len(seam)
        parts += [seam, Image.fromarray(outlined(image, mask)).resize(size, Image.Resampling.NEAREST)]
    return np.concatenate(parts[1:], 1)


def show_film(images: Any, maps_by_epoch: Any, epochs: Any, title: str, labels: Any = None, room: int = 0) -> Figure:
    """A film strip: N images in rows and for each of the ``epochs`` N maps (h, w), each by its own maximum.

    At most ten epochs are shown, evenly spread, first and last included; ``room``: columns kept for epochs to come.
    """
    pictures = [Image.fromarray(picture) for picture in as_images(images)]
    for picture in pictures:
        picture.thumbnail((100, 300))  # what a screen shows of them: drawn faster
    columns = {"image": list(map(np.asarray, pictures))}
    for k in np.linspace(0, len(epochs) - 1, min(len(epochs), 10)).round().astype(int):
        columns[f"epoch {epochs[k]}"] = list(map(overlay, pictures, maps_by_epoch[k]))
    heading = f"{title} \u00b7 {SCALES['own maximum']}"
    return _table(columns, labels, heading, columns=max(len(columns), room + 1), widest=0.62, bars=[_SHARE])
