"""Images: the oracle opens one file after the other with PIL, and augments one sample at a time with numpy slices."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from casnkit.config import DataConfig
from casnkit.data import images as module
from casnkit.data.images import augment, denormalise, load_images, load_masks, load_parts, normalise
from casnkit.data.records import Split

MEAN_COLOUR = np.array([124, 116, 104])  # 255 * ImageNet's mean, rounded


@pytest.fixture
def split(tmp_path) -> Split:
    """75 images of different sizes and kinds, each with a mask and a part map of its own size."""
    rng = np.random.default_rng(0)
    for folder in ("train", "masks", "parts"):
        (tmp_path / folder).mkdir()
    paths = []
    for i in range(75):
        height, width = (32, 16) if i % 3 else (rng.integers(20, 70), rng.integers(10, 40))
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        path = tmp_path / "train" / f"{i:04d}_c1s1_000000_00.{'png' if i % 2 else 'jpg'}"
        (image.convert("L") if i % 5 == 0 else image).save(path)
        paths.append(path)
        parts = rng.integers(0, 8, (height, width), dtype=np.uint8)
        Image.fromarray(parts).save(tmp_path / "parts" / f"{path.stem}.png")
        Image.fromarray(np.where(parts > 3, 255, 0).astype(np.uint8)).save(tmp_path / "masks" / f"{path.stem}.png")
    ones = np.ones(len(paths), dtype=int)
    return Split(paths, ones, ones, "train", tmp_path / "masks", tmp_path / "parts")


@pytest.mark.parametrize("size", [(32, 16), (48, 24), (7, 9)])
def test_images_equal_one_by_one_reading(split, size):
    images = load_images(split, size, progress=False)
    assert images.dtype == torch.uint8
    assert images.shape == (75, 3, *size)
    for i, path in enumerate(split.paths):
        reference = Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(images[i].permute(1, 2, 0).numpy(), np.array(reference))


def test_masks_and_parts_are_nearest_neighbour_and_line_up(split):
    size = (17, 11)
    masks, parts = load_masks(split, size), load_parts(split, size)
    assert (masks.dtype, parts.dtype) == (torch.bool, torch.uint8)
    assert masks.shape == parts.shape == (75, *size)
    unsure = 0
    for i in range(75):
        whole = split.parts(i)
        height, width = whole.shape
        for y, x in np.ndindex(*size):
            # the source pixel under the centre of the target pixel; either neighbour of an exact border
            row, column = (y + 0.5) * height / size[0], (x + 0.5) * width / size[1]
            near = {int(whole[int(row - r), int(column - c)]) for r in (0, 1e-9) for c in (0, 1e-9)}
            assert int(parts[i, y, x]) in near
            assert masks[i, y, x] == (parts[i, y, x] > 3)
            unsure += len(near) > 1
    assert unsure < 0.2 * masks.numel(), unsure / masks.numel()


def test_no_masks_is_none_and_some_masks_is_an_error(split, tmp_path):
    plain = Split(split.paths, split.pids, split.camids)
    assert load_masks(plain, (8, 4)) is load_parts(plain, (8, 4)) is None
    masks = [tmp_path / "masks" / f"{Path(split.paths[i]).stem}.png" for i in (3, 5)]
    masks[0].unlink()
    masks[1].write_bytes(b"no")
    with pytest.raises(ValueError, match=r"(?s)2 of 75 .*0003_c1\S* has no .*0005_c1\S* could not"):
        load_masks(split, (8, 4))


def test_every_unreadable_image_is_in_one_error(split):
    def spoil(i: int, content: bytes) -> str:
        Path(split.paths[i]).write_bytes(content)
        return Path(split.paths[i]).name

    whole = Path(split.paths[2]).read_bytes()
    names = [spoil(2, whole[:200]), spoil(40, b""), spoil(74, b"not a picture")]
    with pytest.raises(ValueError, match="3 of 75 images of split 'train' could not be read") as caught:
        load_images(split, (8, 4), progress=False)
    assert all(name in str(caught.value) for name in names)
    assert f"casnkit data check {Path(split.paths[0]).parent.parent}" in str(caught.value)


@pytest.mark.parametrize("place", ["auto", "memory", "disk", "device"])
def test_wherever_images_live_they_are_the_same(split, place, monkeypatch):
    assert load_images(Split([], [], []), (8, 4), progress=False).shape == (0, 3, 8, 4)
    found = module.open_images(split, (8, 4), torch.device("cpu"), place, False)
    assert torch.equal(found, load_images(split, (8, 4), progress=False))
    with pytest.raises(ValueError, match="device, memory, disk"):
        module.open_images(split, (8, 4), torch.device("cpu"), "moon", False)
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=10))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ValueError, match="set TMPDIR"):  # too little memory: it goes to the disk, which is full
        module.open_images(split, (8, 4), torch.device("cpu"), "auto", False)


def pictures(batch: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, 20, 10), generator=generator, dtype=torch.uint8)


def augmented(images: torch.Tensor, seed: int = 0, **config: float) -> np.ndarray:
    """uint8 again, which ``denormalise`` gives exactly."""
    before = images.clone()
    result = augment(images, DataConfig(**config), torch.Generator().manual_seed(seed))
    assert result.dtype == torch.float32
    assert torch.equal(images, before)
    return denormalise(result).numpy()


def test_flip_mirrors_whole_samples():
    images, mirrored = pictures(64), 0
    for source, out in zip(images.numpy(), augmented(images), strict=True):
        is_mirrored = np.array_equal(out, source[:, :, ::-1])
        assert is_mirrored or np.array_equal(out, source)
        mirrored += is_mirrored
    assert 16 < mirrored < 48  # neither all nor none: each sample has its own coin
    assert np.array_equal(augmented(images, flip=0.0), images)
    assert np.array_equal(augmented(images, flip=1.0), images.flip(-1))


def test_pad_crop_is_a_slice_of_each_padded_sample():
    images, offsets = pictures(200), set()
    for source, out in zip(images.numpy(), augmented(images, flip=0.0, padding=3), strict=True):
        padded = np.broadcast_to(MEAN_COLOUR[:, None, None], (3, 26, 16)).copy()
        padded[:, 3:-3, 3:-3] = source
        places = [(y, x) for y, x in np.ndindex(7, 7) if np.array_equal(padded[:, y : y + 20, x : x + 10], out)]
        assert len(places) == 1
        offsets.add(places[0])
    assert len(offsets) > 40  # of 49
    assert {y for y, _ in offsets} == {x for _, x in offsets} == set(range(7))  # both ends included


def test_erasing_paints_one_rectangle_of_the_asked_size():
    height, width, area, aspect = 128, 64, (0.02, 0.4), 0.3
    images = torch.full((600, 3, height, width), 7, dtype=torch.uint8)
    shares, ratios = [], []
    for out in augmented(images, flip=0.0, erase=0.5):
        erased = (out != 7).any(axis=0)
        if not erased.any():
            continue
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        block = out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (block == MEAN_COLOUR[:, None, None]).all()
        assert erased.sum() == block[0].size  # nothing outside the rectangle
        shares.append(block[0].size / (height * width))
        ratios.append(block.shape[1] / block.shape[2])
    assert 240 < len(shares) < 360
    # Rounding moves each side by half a pixel, at most 5 % of the smallest sides here.
    assert area[0] * 0.93 < min(shares) < 0.04
    assert 0.38 < max(shares) < area[1] * 1.03
    assert np.mean(shares) == pytest.approx(0.21, abs=0.02)  # uniform: the middle of the range
    assert aspect * 0.9 < min(ratios) < 0.5
    assert 2.0 < max(ratios) < 1.1 / aspect


@pytest.mark.parametrize("size", [(8, 6), (40, 4), (4, 40), (1, 1)])
def test_erasing_any_shape_reaches_every_edge_and_stays_inside(size):
    images = torch.full((2000, 3, *size), 7, dtype=torch.uint8)
    erased = (augmented(images, flip=0.0, erase=1.0) != 7).any(axis=1)
    assert erased.any(axis=(1, 2)).all()
    assert erased.mean(axis=0).min() > 0.02
    np.testing.assert_allclose(erased.mean(axis=0), erased.mean(axis=0)[::-1, ::-1], atol=0.05)


def test_normalise_by_hand_and_back():
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 3, 1, 2)
    expected = np.array([[-2.117904, 2.248908], [-2.035714, 2.428571], [-1.804444, 2.640000]])
    np.testing.assert_allclose(normalise(images)[0, :, 0].numpy(), expected, atol=1e-6)
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, -1, -1)
    assert torch.equal(denormalise(normalise(values)), values)
    for value, end in ((99.0, 255), (-99.0, 0)):
        assert denormalise(torch.full((1, 3, 1, 1), value)).eq(end).all()


def test_the_chances_of_a_part_are_those_of_the_whole_and_of_its_seed_alone():
    config, images, state = DataConfig(padding=2, erase=0.5), pictures(), torch.get_rng_state()

    def run(part: torch.Tensor, seed: int, rows: object = None) -> torch.Tensor:
        return augment(part, config, torch.Generator().manual_seed(seed), rows)

    index = torch.tensor([7, 2, 11])
    assert torch.equal(run(images[index], 4, (index, 12)), run(images, 4)[index])
    assert not torch.equal(run(images, 4), run(images, 5))
    assert torch.equal(torch.get_rng_state(), state)
    if torch.cuda.is_available():
        torch.testing.assert_close(run(images.cuda(), 4).cpu(), run(images, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: augment(pictures().int(), DataConfig(), torch.Generator()), "int32"),
        (lambda: normalise(normalise(pictures())), "normalised already"),
        (lambda: denormalise(pictures()), "expected normalised float"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
