"""Loading: the oracle opens one file after the other with PIL."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from casnkit.data.images import iterate_batches, load_images, load_masks, load_parts, memory_needed, normalise
from casnkit.data.records import Split

PETS = Path(__file__).parents[3] / "shared" / "data" / "pets-small"


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
    images = load_images(split, size, threads=2, progress=False)
    assert images.dtype == torch.uint8
    assert images.shape == (75, 3, *size)
    for i, path in enumerate(split.paths):
        reference = Image.open(path).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(images[i].permute(1, 2, 0).numpy(), np.array(reference))


def test_the_number_of_threads_changes_nothing(split):
    one = load_images(split, (40, 20), threads=1, progress=False)
    for threads in (2, 7, None):
        assert torch.equal(load_images(split, (40, 20), threads=threads, progress=False), one)


def test_resizing_is_antialiased(tmp_path):
    """Stripes one pixel wide, halved: averaged to grey, never picked to black or white."""
    stripes = np.zeros((64, 32, 3), dtype=np.uint8)
    stripes[::2] = 255
    Image.fromarray(stripes).save(tmp_path / "1.png")
    images = load_images(Split([tmp_path / "1.png"], [1], [1]), (32, 16), progress=False)
    assert (images[0, :, 2:-2].float() - 127.5).abs().max() < 2


def test_masks_and_parts_are_nearest_neighbour_and_line_up(split):
    size = (17, 11)
    masks, parts = load_masks(split, size), load_parts(split, size)
    assert masks.dtype == torch.bool
    assert parts.dtype == torch.uint8
    assert masks.shape == parts.shape == (75, *size)
    unsure = 0
    for i in range(75):
        whole = split.parts(i)
        height, width = whole.shape
        for y in range(size[0]):
            for x in range(size[1]):
                # the source pixel under the centre of the target pixel; either neighbour of an exact border
                row, column = (y + 0.5) * height / size[0], (x + 0.5) * width / size[1]
                near = {int(whole[int(row - r), int(column - c)]) for r in (0, 1e-9) for c in (0, 1e-9)}
                assert int(parts[i, y, x]) in near
                assert masks[i, y, x] == (parts[i, y, x] > 3)
                unsure += len(near) > 1
    assert unsure < 0.2 * masks.numel(), unsure / masks.numel()


def test_no_masks_is_none_and_some_masks_is_an_error(split, tmp_path):
    plain = Split(split.paths, split.pids, split.camids)
    assert load_masks(plain, (8, 4)) is None
    assert load_parts(plain, (8, 4)) is None
    (tmp_path / "empty").mkdir()
    assert load_masks(Split(split.paths, split.pids, split.camids, "train", tmp_path / "empty"), (8, 4)) is None
    for i in (3, 9):
        (tmp_path / "masks" / f"{Path(split.paths[i]).stem}.png").unlink()
    with pytest.raises(ValueError, match=r"2 of 75 images .* have no mask .*0003_c1.*0009_c1") as caught:
        load_masks(split, (8, 4))
    assert "..." not in str(caught.value)


def test_every_unreadable_image_is_in_one_error(split):
    def spoil(i: int, content: bytes) -> str:
        Path(split.paths[i]).write_bytes(content)
        return Path(split.paths[i]).name

    whole = Path(split.paths[2]).read_bytes()
    names = [spoil(2, whole[:200]), spoil(40, b""), spoil(74, b"not a picture")]
    with pytest.raises(ValueError, match="3 of 75 images of split 'train' could not be read") as caught:
        load_images(split, (8, 4), threads=2, progress=False)
    message = str(caught.value)
    assert all(name in message for name in names)
    assert f"casnkit data check {Path(split.paths[0]).parent.parent}" in message
    more = [spoil(i, b"") for i in range(50, 60)]
    with pytest.raises(ValueError, match="13 of 75") as caught:
        load_images(split, (8, 4), progress=False)
    assert sum(name in str(caught.value) for name in names + more) == 10
    assert "and 3 more" in str(caught.value)


def test_unreadable_masks_are_named_too(split, tmp_path):
    bad = tmp_path / "masks" / f"{Path(split.paths[5]).stem}.png"
    bad.write_bytes(b"no")
    with pytest.raises(ValueError, match=bad.name):
        load_masks(split, (8, 4))


@pytest.mark.parametrize("size", [(0, 4), (8, -1), 8, (8,), (8, 4, 3), (8.5, 4), "84"])
def test_sizes_are_checked(split, size):
    with pytest.raises(ValueError, match="size: expected"):
        load_images(split, size, progress=False)


@pytest.mark.parametrize("threads", [0, -2, 1.5, True])
def test_threads_are_checked(split, threads):
    with pytest.raises(ValueError, match="threads"):
        load_images(split, (8, 4), threads=threads, progress=False)


def test_empty_split():
    assert load_images(Split([], [], []), (8, 4), progress=False).shape == (0, 3, 8, 4)


def test_memory_needed_is_what_the_tensor_takes(split):
    images = load_images(split, (32, 16), progress=False)
    assert memory_needed(len(split), (32, 16)) == images.numel() * images.element_size() == 75 * 1536


def test_no_memory_is_said_with_the_number(split):
    with pytest.raises(ValueError, match=r"no memory for 75 images of 100000000x100000000 \(2095475792\.\d GiB\)"):
        load_images(split, (10**8, 10**8), progress=False)


def test_a_bar_is_shown_where_there_is_tqdm_and_missed_without_harm(split, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    expected = load_images(split, (8, 4), progress=False)
    assert capsys.readouterr() == ("", "")
    load_images(split, (8, 4), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading train" in err

    def without_tqdm(name, *arguments, **keywords):
        if name.split(".")[0] == "tqdm":
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    real_import = builtins.__import__
    monkeypatch.setattr("casnkit._optional.importlib.import_module", without_tqdm)
    assert torch.equal(load_images(split, (8, 4), progress=True), expected)
    assert capsys.readouterr() == ("", "")


def test_batches_are_normalised_slices(split):
    images = load_images(split, (8, 4), progress=False)
    batches = list(iterate_batches(images, 32))
    assert [len(batch) for batch in batches] == [32, 32, 11]
    assert torch.equal(torch.cat(batches), normalise(images))
    with pytest.raises(ValueError, match="batch_size"):
        next(iterate_batches(images, 0))


@pytest.mark.skipif(not PETS.is_dir(), reason=f"real pictures not found at {PETS}")
def test_real_masks_lie_on_people():
    """Upright crops with the person in the middle: swapped axes would put the mask's long side across."""
    paths = sorted((PETS / "query").glob("*.jpg"))
    ones = np.ones(len(paths), dtype=int)
    split = Split(paths, ones, ones, "query", PETS / "masks")
    images, masks = load_images(split, (128, 64), progress=False), load_masks(split, (128, 64))
    assert images.shape == (len(paths), 3, 128, 64)
    share = masks.float().mean(dim=0)
    assert share[:, 16:48].mean() > 2 * share[:, [0, 1, 2, 61, 62, 63]].mean()
    for mask in masks:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        assert rows.max() - rows.min() > columns.max() - columns.min()
