"""Augmentation: the oracle works on one sample at a time, with numpy slices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from casnkit.data.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Augmentation,
    augment,
    denormalise,
    flip,
    normalise,
    pad_crop,
    random_erase,
)

MEAN_COLOUR = np.array([124, 116, 104])  # 255 * ImageNet's mean, rounded


def pictures(batch: int = 12, height: int = 20, width: int = 10, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    values = torch.randint(0, 256, (batch, 3, height, width), generator=torch.Generator().manual_seed(1))
    return values.to(dtype) if dtype == torch.uint8 else values.to(dtype) / 100 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flip_mirrors_whole_samples(dtype):
    images = pictures(64, dtype=dtype)
    before = images.clone()
    result = flip(images, seeded())
    mirrored = 0
    for source, out in zip(images.numpy(), result.numpy(), strict=True):
        is_mirrored = np.array_equal(out, source[:, :, ::-1])
        assert is_mirrored or np.array_equal(out, source)
        mirrored += is_mirrored
    assert 16 < mirrored < 48  # neither all nor none: each sample has its own coin
    assert torch.equal(images, before)
    assert torch.equal(flip(images, seeded(), probability=0.0), images)
    assert torch.equal(flip(images, seeded(), probability=1.0), images.flip(-1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("fill", [None, 0, (1, 2, 3)])
def test_pad_crop_is_a_slice_of_each_padded_sample(dtype, fill):
    images, padding = pictures(200, dtype=dtype), 3
    result = pad_crop(images, padding, seeded(), fill)
    assert result.dtype == dtype
    colour = (MEAN_COLOUR if dtype == torch.uint8 else 0) if fill is None else fill
    offsets = set()
    for source, out in zip(images.numpy(), result.numpy(), strict=True):
        padded = np.empty((3, 26, 16), dtype=source.dtype)
        padded[:] = np.broadcast_to(np.asarray(colour), (3,))[:, None, None]
        padded[:, 3:-3, 3:-3] = source
        places = [(y, x) for y in range(7) for x in range(7) if np.array_equal(padded[:, y : y + 20, x : x + 10], out)]
        assert len(places) == 1
        offsets.add(places[0])
    assert len(offsets) > 40  # of 49
    assert {y for y, _ in offsets} == {x for _, x in offsets} == set(range(7))  # both ends included


def test_pad_crop_without_padding_changes_and_draws_nothing():
    generator = seeded()
    state = generator.get_state()
    images = pictures()
    assert torch.equal(pad_crop(images, 0, generator), images)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_erasing_paints_one_rectangle_of_the_asked_size(dtype):
    height, width, area, aspect = 128, 64, (0.02, 0.4), 0.3
    images = torch.full((600, 3, height, width), 7, dtype=dtype)
    result = random_erase(images, 0.5, area, aspect, seeded()).numpy()
    assert (images == 7).all()
    colour = MEAN_COLOUR if dtype == torch.uint8 else np.zeros(3)
    shares, ratios = [], []
    for out in result:
        erased = (out != 7).any(axis=0)
        if not erased.any():
            continue
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        block = out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (block == colour[:, None, None]).all()
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
    small = [math.log(r) for r, s in zip(ratios, shares, strict=True) if s < 0.2]
    assert abs(np.mean(small)) < 0.15  # where every ratio fits, tall and wide are alike


def test_erasing_reaches_every_edge_and_keeps_to_its_probability():
    images = torch.full((2000, 3, 8, 6), 7, dtype=torch.uint8)
    result = random_erase(images, 1.0, (0.1, 0.3), 0.5, seeded())
    assert (result != 7).any(dim=1).flatten(1).any(dim=1).all()
    how_often = (result != 7).any(dim=1).float().mean(dim=0)
    assert how_often.min() > 0.02
    np.testing.assert_allclose(how_often, how_often.flip(0), atol=0.04)  # top as often as bottom
    np.testing.assert_allclose(how_often, how_often.flip(1), atol=0.04)
    assert torch.equal(random_erase(images, 0.0, (0.1, 0.3), 0.5, seeded()), images)


@pytest.mark.parametrize("size", [(40, 4), (4, 40), (1, 1), (3, 2)])
def test_erasing_any_shape_stays_inside(size):
    images = torch.full((50, 3, *size), 7, dtype=torch.uint8)
    whole = random_erase(images, 1.0, (1.0, 1.0), 0.3, seeded())
    assert (whole != 7).all()
    part = random_erase(images, 1.0, (0.5, 0.5), 0.3, seeded())
    share = (part != 7).any(dim=1).float().mean(dim=(1, 2))
    np.testing.assert_allclose(share, 0.5, atol=0.51 if size[0] * size[1] < 10 else 0.13)


def test_normalise_by_hand_and_by_torchvision():
    images = torch.zeros(1, 3, 1, 2, dtype=torch.uint8)
    images[0, :, 0, 1] = 255
    expected = np.array([[-2.117904, 2.248908], [-2.035714, 2.428571], [-1.804444, 2.640000]])
    np.testing.assert_allclose(normalise(images)[0, :, 0].numpy(), expected, atol=1e-6)
    images = pictures()
    reference = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    torch.testing.assert_close(normalise(images), reference(images))
    torch.testing.assert_close(normalise(images[0]), reference(images[0]))


def test_denormalise_undoes_normalise_for_every_value_and_clips():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, -1, -1)
    normalised = normalise(values)
    before = normalised.clone()
    assert torch.equal(denormalise(normalised), values)
    assert torch.equal(normalised, before)
    assert denormalise(torch.full((1, 3, 1, 1), 99.0)).eq(255).all()
    assert denormalise(torch.full((1, 3, 1, 1), -99.0)).eq(0).all()


def test_augment_is_the_operations_in_order():
    config = Augmentation(flip=0.5, padding=2, erase=0.5)
    images = pictures()
    before = images.clone()
    result = augment(images, config, seeded(4))
    generator = seeded(4)
    step = pad_crop(flip(images, generator), 2, generator)
    step = random_erase(step, 0.5, (0.02, 0.4), 0.3, generator)
    torch.testing.assert_close(result, normalise(step), rtol=0, atol=0)
    assert result.dtype == torch.float32
    assert torch.equal(images, before)
    assert not torch.equal(result, augment(images, config, seeded(5)))
    nothing = Augmentation(flip=0.0)
    generator = seeded()
    state = generator.get_state()
    assert torch.equal(augment(images, nothing, generator), normalise(images))
    assert torch.equal(generator.get_state(), state)


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    augment(pictures(), Augmentation(padding=2, erase=1.0), seeded())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_pictures_on_a_gpu():
    config = Augmentation(padding=3, erase=0.7)
    images = pictures()
    on_cpu = augment(images, config, seeded())
    on_gpu = augment(images.cuda(), config, seeded())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flip(pictures()[0], seeded()), "shape \\(B, 3, H, W\\)"),
        (lambda: flip(pictures()[:, :1], seeded()), "shape \\(B, 3, H, W\\)"),
        (lambda: flip(pictures().int(), seeded()), "int32"),
        (lambda: flip(pictures(), None), "CPU generator"),
        (lambda: flip(pictures(), seeded(), 1.2), "flip"),
        (lambda: pad_crop(pictures(), -1, seeded()), "padding"),
        (lambda: pad_crop(pictures(), 2, seeded(), fill=(1, 2)), "fill"),
        (lambda: random_erase(pictures(), 0.5, (0.4, 0.2), 0.3, seeded()), "erase_area"),
        (lambda: random_erase(pictures(), 0.5, (0.2, 0.4), 0.0, seeded()), "erase_aspect"),
        (lambda: normalise(normalise(pictures())), "normalised already"),
        (lambda: denormalise(pictures()), "expected normalised float"),
        (lambda: Augmentation(flip=-0.1), "flip"),
        (lambda: Augmentation(padding=1.5), "padding"),
        (lambda: Augmentation(erase=2.0), "erase"),
        (lambda: Augmentation(erase_area=(0.0, 0.4)), "erase_area"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
