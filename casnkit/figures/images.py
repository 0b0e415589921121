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

SCALES = {
    "own maximum": "each map divided by its own maximum",
    "shared": "both maps divided by the larger maximum",
}
BRIGHTEST = 99.0  # percentile of a pair's values that gets the brightest colour: single pixels would darken the rest
_GAP, _LEAD, _RIM = 0.16, 0.14, 0.04  # shares of a tile's width: between tiles, after the first, from image to frame
_SHARE = (style.ATTENTION_COLOURS, 0, 1, "share of maximum")


def to_array(values: Any) -> np.ndarray:
    """A numpy view of an array, a sequence or a tensor on any device, without its graph."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def as_image(image: Any, name: str = "image") -> np.ndarray:
    """An image as (H, W, 3) uint8: from a PIL image, a (H, W, 3) or (H, W) uint8 array, or a (3, H, W) uint8 tensor."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    array = to_array(image)
    if array.ndim == 2:  # grey
        array = np.stack([array] * 3, -1)
    elif isinstance(image, torch.Tensor) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(
            f"{name}: expected a PIL image, a (H, W, 3) array or a (3, H, W) tensor of uint8 values, got "
            f"{array.dtype} of shape {to_array(image).shape}; undo a normalisation and multiply by 255 first"
        )
    return array


def as_images(images: Sequence[Any]) -> list[np.ndarray]:
    """Images as :func:`as_image` reads them."""
    return [as_image(image, f"image {i}") for i, image in enumerate(images)]


def as_map(values: Any, name: str = "attention") -> np.ndarray:
    """A map as (h, w) float64, from (h, w) or (1, h, w); another shape, NaN or infinity raise a ``ValueError``."""
    array = to_array(values).astype(np.float64)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name}: expected one map of shape (h, w), got shape {array.shape}; index a batch first")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite values, got NaN or infinity")
    return array


def as_mask(values: Any, image: np.ndarray, name: str = "mask") -> np.ndarray:
    """A mask as (H, W) float64; another size than that of ``image`` (H, W, 3) raises a ``ValueError``."""
    mask = as_map(values, name)
    if mask.shape != image.shape[:2]:
        hint = "; height and width are swapped" if mask.shape == image.shape[1::-1] else ""
        raise ValueError(f"{name}: expected the image's size (H, W) = {image.shape[:2]}, got {mask.shape}{hint}")
    return mask


def same_length(**named: Sequence) -> None:
    """Refuse parallel sequences that are empty or differ in length; the ``ValueError`` gives each one's length."""
    lengths = {name.replace("_", " "): len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"expected one entry per image everywhere, and at least one, got {listed}")


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

    ``opacity``, in [0, 1], is the map's share in the mixture at two fifths of its range; it rises with the map, so that the
    picture stays legible where the map is silent. ``vmax`` gets the brightest colour, by default the map's own maximum.
    Negative values are drawn as zero, a zero map stays dark.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"expected an opacity in [0, 1], got {opacity}")
    pixels, values = as_image(image), scaled(as_map(attention), vmax)
    values = upsample(values, *pixels.shape[:2])
    share = np.minimum(opacity * (2 / 3 + 5 / 6 * values), 1)[:, :, None]
    return ((1 - share) * pixels + share * _coloured(values, colormap)).round().astype(np.uint8)


def _coloured(values: np.ndarray, colormap: str) -> np.ndarray:
    """(H, W) in [0, 1] -> (H, W, 3) in [0, 255]."""
    return matplotlib.colormaps[colormap](values)[..., :3] * 255


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
        """Height of the tallest picture where each is fitted into a tile of width 1."""
        return min(3.0, max(image.shape[0] / image.shape[1] for image in self.images if image is not None))


def draw_row(ax: Axes, row: Row, columns: int, lead: float = _LEAD) -> None:
    """Draw ``row`` into ``ax``, whose unit is a tile's width; the first tile stands ``lead`` apart."""
    tall, look = row.tall, {"textcoords": "offset points", "ha": "center", "linespacing": 1.15}
    rim = _RIM if row.frames else 0
    for column, image in enumerate(row.images):
        if image is None:
            continue
        left = column * (1 + _GAP) + (lead if column else 0)
        scale = min(1 / image.shape[1], tall / image.shape[0])
        wide, high = image.shape[1] * scale, image.shape[0] * scale
        x, y = left + (1 - wide) / 2, tall - high
        ax.imshow(image, extent=(x, x + wide, tall, y), interpolation="antialiased")
        colour, line, width = row.frames[column] if row.frames else (style.LIGHT, "-", 0.8)
        border = {"edgecolor": colour, "linestyle": line, "linewidth": width, "fill": False, "clip_on": False}
        ax.add_patch(Rectangle((x - rim, y - rim), wide + 2 * rim, high + 2 * rim, **border))
        if row.heads:
            bold = {"color": colour, "weight": "bold"} if row.frames else {"size": style.SMALL}
            ax.annotate(row.heads[column], (left + 0.5, 0), (0, 7), va="baseline", **look, **bold)
        if row.captions:
            ax.annotate(row.captions[column], (left + 0.5, tall), (0, -6), va="top", size=style.SMALL, **look)
    if row.label:
        ax.annotate(row.label, (0, tall / 2), (-8, 0), va="center", size=style.SMALL, **(look | {"ha": "right"}))
    ax.set_title(row.title, pad=24)
    ax.set_axis_off()
    ax.set(xlim=(-_RIM, columns * (1 + _GAP) - _GAP + lead + _RIM), ylim=(tall, 0), aspect="equal")


def outlined(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """``image`` (H, W, 3) with the outline of ``mask`` (H, W), white on black so that it shows on any picture."""
    if mask is None:
        return image
    inside = as_mask(mask, image) > 0.5
    white, black = inside & ~binary_erosion(inside), binary_dilation(inside) & ~inside
    return np.where(white[:, :, None], np.uint8(255), np.where(black[:, :, None], np.uint8(0), image))


def sheet(
    rows: Sequence[Row],
    title: str,
    columns: int = 0,
    widest: float = 1.45,
    bars: Any = (),
    keys: Any = (),
    note: str = "",
) -> Figure:
    """Rows of pictures, one below the other, at one scale: tiles of at most ``widest`` inches, ``columns`` in a row.

    ``bars``: colour bars below, each as colours, lowest and highest value, and label; ``keys``: handles of a legend below.
    """
    columns = columns or max(len(row.images) for row in rows)
    labels = [fold(row.label, 12, 3) for row in rows]
    beside = 0.3 + 0.08 * max(len(line) for label in labels for line in label.split("\n"))
    units = columns * (1 + _GAP) - _GAP + _LEAD
    tile = min(widest, (style.PAGE_WIDTH - beside) / units)
    width = min(style.PAGE_WIDTH, max(beside + units * tile, 0.12 * len(title), 5.0 if note or keys else 0))
    letters = 13 * tile * (1 + _GAP)
    for row, row.label in zip(rows, labels, strict=True):
        row.heads = [fold(head, letters) for head in row.heads]
        row.captions = ["\n".join(short(line, letters) for line in text.split("\n")) for text in row.captions]
        row.title = short(row.title, 11 * width)
    lines = 2.2 * bool(title) + 4 * bool(bars) + 1.4 * -(-len(keys) // 3) + 1.5 * bool(note)
    for row in rows:
        written = (max((text.count("\n") + 1 for text in texts), default=0) for texts in (row.heads, row.captions))
        lines += 1 + sum(written) + 1.6 * bool(row.title)
    tall = [row.tall for row in rows]
    height = tile * sum(tall) + 0.155 * lines + 0.2
    figure = new_figure(width, height, title, note, "compressed")
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
    ticks, shades = [low, 0, high] if low < 0 < high else [low, high], ScalarMappable(Normalize(low, high), colours)
    figure = np.atleast_1d(axes)[0].figure
    bar = figure.colorbar(shades, ax=axes, location="bottom", ticks=ticks, format="%.2g", label=label, **place)
    bar.outline.set_linewidth(0.5)


@figure_style()
def show_batch(images: Sequence[Any], captions: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """A contact sheet: images as :func:`as_image` reads them in reading order, captions below, ``columns`` in a line."""
    pictures = as_images(images)
    return _wrapped(pictures, [""] * len(pictures) if captions is None else captions, columns)


def _wrapped(pictures: list, captions: Sequence[str], columns: int, title: str = "", bars: Any = ()) -> Figure:
    same_length(images=pictures, captions=captions)
    parts = [slice(start, start + columns) for start in range(0, len(pictures), columns)]
    rows = [Row(pictures[p], captions=[str(caption) for caption in captions[p]]) for p in parts]
    return sheet(rows, title, widest=1.2, bars=bars)


@figure_style()
def show_channels(
    image: Any, maps: Sequence, captions: Sequence[str], columns: int = 8, signed: bool = False, title: str = "Channels"
) -> Figure:
    """An image and N maps (h, w) of it, all on one scale, each with a caption: channels of A, or sums of them.

    Maps lie over the image, negative values as zero; ``signed`` ones stand alone, in diverging colours around zero.
    """
    picture, values = as_image(image), [as_map(m, f"map {i}") for i, m in enumerate(maps)]
    limit = max((float(np.abs(v).max() if signed else v.max()) for v in values), default=0) or 1.0
    bar, shown = (style.ATTENTION_COLOURS, 0, limit, "value"), [overlay(picture, v, vmax=limit) for v in values]
    if signed:
        bar = (style.DIFFERENCE_COLOURS, -limit, limit, "value")
        cells = [Image.fromarray(_coloured(v / limit / 2 + 0.5, bar[0]).astype(np.uint8)) for v in values]
        shown = [np.asarray(cell.resize(picture.shape[1::-1], Image.Resampling.NEAREST)) for cell in cells]
    return _wrapped([picture, *shown], ["image", *captions], columns, f"{title} \u00b7 one scale for all maps", [bar])


@figure_style()
def show_identification(
    images: Sequence, maps: Sequence, masks: Sequence, masked_images: Sequence, labels: Sequence[str], title: str
) -> Figure:
    """Identification attention at work (paper 3.1, figure 4), a row per image: image, map, soft mask, what it leaves.

    Raw maps (h, w), soft masks (H, W) in [0, 1], the images without what the masks cover; ``labels`` say whose score was
    differentiated, e.g. ``"id 12, p = 0.97"``.
    """
    same_length(images=images, maps=maps, masks=masks, masked_images=masked_images, labels=labels)
    columns = {"image": as_images(images)}
    columns["attention"] = list(map(overlay, columns["image"], maps))
    soft = [_coloured(as_mask(*pair), style.MASK_COLOURS) for pair in zip(masks, columns["image"], strict=True)]
    columns["soft mask S"] = [mask.astype(np.uint8) for mask in soft]
    columns["image \u00d7 (1 \u2212 S)"] = as_images(masked_images)
    bars = [_SHARE, (style.MASK_COLOURS, 0, 1, "mask value")]
    return sheet(_rows(columns, labels), f"{title} \u00b7 {SCALES['own maximum']}", bars=bars)


def _rows(columns: Mapping[str, Sequence], labels: Sequence[str] | None) -> list[Row]:
    """Named columns of pictures as rows: the names above the first one, a label before each."""
    rows = [Row(pictures) for pictures in zip(*columns.values(), strict=True)]
    rows[0].heads = list(columns)
    for row, label in zip(rows, labels or [""] * len(rows), strict=True):
        row.label = label
    return rows


@figure_style()
def show_maps(
    images: Sequence[Any],
    maps_by_name: Mapping[str, Sequence[Any]],
    masks: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    title: str = "Attention maps",
) -> Figure:
    """Methods side by side: a row per image, a column per method; each map is divided by its own maximum.

    ``maps_by_name``: method -> N maps (h, w), each method in its own resolution if need be. ``masks``: N person masks
    (H, W), bool, drawn as outlines; None entries where there is none. ``labels``: of the rows.
    """
    pictures, masks = as_images(images), [None] * len(images) if masks is None else masks
    named = {f"maps of {name}": maps for name, maps in maps_by_name.items()}
    same_length(images=pictures, masks=masks, labels=labels or pictures, **named)
    columns = {"image": pictures, **{name: list(map(overlay, pictures, maps)) for name, maps in maps_by_name.items()}}
    columns = {name: list(map(outlined, column, masks)) for name, column in columns.items()}
    return sheet(_rows(columns, labels), f"{title} \u00b7 {SCALES['own maximum']}", bars=[_SHARE])


@figure_style()
def show_gallery_of_methods(
    pairs: Sequence,
    maps_by_method: Mapping,
    labels: Sequence[str] | None = None,
    masks: Sequence | None = None,
    title: str = "Explanations of pairs",
) -> Figure:
    """A row per pair, a column per method, both images in each; the persons' outlines where masks are given.

    P pairs of images; method -> P pairs of maps (h, w), each method in its own resolution; P row labels; P pairs of person
    masks (H, W), bool, None where there are none. Negative values are drawn as zero. Each method has one scale for both
    images of a pair, up to the 99th percentile.
    """
    pictures = [as_images(pair) for pair in pairs]
    masks = [(None, None) if pair is None else pair for pair in masks or [None] * len(pairs)]
    named = {f"maps of {name}": maps for name, maps in maps_by_method.items()}
    same_length(pairs=pictures, labels=labels or masks, masks=masks, **named)
    columns = {"pair": [_side_by_side(*map(outlined, *parts)) for parts in zip(pictures, masks, strict=True)]}
    for name, maps in maps_by_method.items():
        parts = zip(pictures, maps, masks, strict=True)
        columns[name.replace("-", " ")] = [_pair_overlay(*part) for part in parts]
    heading = f"{title} \u00b7 values above zero, one scale per pair and method"
    return sheet(_rows(columns, labels), heading, bars=[(*_SHARE[:3], "share of 99th percentile")])


def _pair_overlay(images: Sequence[np.ndarray], maps: Sequence[Any], masks: Sequence) -> np.ndarray:
    values = [as_map(m).clip(0) for m in maps]
    joined = np.concatenate([v.ravel() for v in values])
    top = float(np.percentile(joined, BRIGHTEST)) or float(joined.max())
    parts = zip(images, values, masks, strict=True)
    return _side_by_side(*(outlined(overlay(image, v, vmax=top), mask) for image, v, mask in parts))


def _side_by_side(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two images (H, W, 3) at one height, that of the first, with a seam of four pixels between them."""
    rows, columns = first.shape[0], round(second.shape[1] * first.shape[0] / second.shape[0])
    second = second[np.arange(rows) * second.shape[0] // rows][:, np.arange(columns) * second.shape[1] // columns]
    return np.concatenate([first, np.full((rows, 4, 3), 255, np.uint8), second], 1)


@figure_style()
def show_film(
    images: Sequence[Any],
    maps_by_epoch: Sequence[Sequence[Any]],
    epochs: Sequence[int],
    title: str = "Attention by epoch",
    labels: Sequence[str] | None = None,
    columns: int = 10,
    room: int = 0,
    pixels: int = 200,
) -> Figure:
    """A film strip: one row per image, one column per epoch, each map by its own maximum.

    ``maps_by_epoch``: for each of the ``epochs``, also none, N maps (h, w). At most ``columns`` epochs are shown, evenly
    spread, the first and the last among them; the place of ``room`` columns is kept, so that a growing strip keeps its size.
    ``pixels``: width of a picture, at most: less is drawn faster.
    """
    pictures = [Image.fromarray(picture) for picture in as_images(images)]
    same_length(images=pictures, **{f"maps of epoch {e}": maps for e, maps in zip(epochs, maps_by_epoch, strict=True)})
    for picture in pictures:
        picture.thumbnail((pixels, 3 * pixels))
    shown = {"image": [np.asarray(picture) for picture in pictures]}
    for k in np.linspace(0, len(epochs) - 1, min(len(epochs), columns)).round().astype(int):
        shown[f"epoch {epochs[k]}"] = list(map(overlay, pictures, maps_by_epoch[k]))
    heading = f"{title} \u00b7 {SCALES['own maximum']}"
    return sheet(_rows(shown, labels), heading, max(len(shown), room + 1), widest=0.62, bars=[_SHARE])
