"""How maps are held against masks: hand-worked pictures, slow loops over pixels, chance, and maps that say nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from casnkit.explain import localisation as loc
from casnkit.explain.masks import random_like

MEASURES = {
    "energy_inside": loc.energy_inside,
    "inside": lambda m, t: loc.coverage(m, t)[0],
    "spill": lambda m, t: loc.coverage(m, t)[1],
    "iou": loc.iou,
    "pointing": loc.pointing_game,
}
# a person of four pixels in a picture of 3 x 4; the map's maximum is 8
MAP = torch.tensor([[[1.0, 0, 0, 0], [8, 6, 4, 1], [0, 5, 3, 4]]])
PERSON = torch.tensor([[[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]]).bool()
PARTS = torch.tensor([[[0, 0, 0, 0], [1, 1, 0, 0], [0, 2, 3, 0]]])


def random_case(size: tuple[int, int], seed: int = 0, count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Signed random maps, masks (12, 8) and part maps with parts 1 to 3."""
    rng = np.random.default_rng(seed)
    parts = rng.integers(0, 4, (count, 12, 8)) * (rng.random((count, 12, 8)) < 0.5)
    return torch.from_numpy(rng.normal(0.3, 1, (count, *size))), torch.from_numpy(parts > 0), torch.from_numpy(parts)


def enlarged(attention: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel by pixel: each pixel's centre in the small map, clamped at the edge."""
    result = np.zeros((height, width))
    for y, x in itertools.product(range(height), range(width)):
        v = min(max((y + 0.5) * attention.shape[0] / height - 0.5, 0), attention.shape[0] - 1)
        u = min(max((x + 0.5) * attention.shape[1] / width - 0.5, 0), attention.shape[1] - 1)
        for row, column in itertools.product({int(v), math.ceil(v)}, {int(u), math.ceil(u)}):
            result[y, x] += max(0, 1 - abs(v - row)) * max(0, 1 - abs(u - column)) * attention[row, column]
    return result


def slow(attention: np.ndarray, person: np.ndarray) -> dict[str, float]:
    """Every measure of one map by counting pixels."""
    positive = np.maximum(attention, 0)
    values = enlarged(positive / positive.max(), *person.shape)
    count = dict.fromkeys(("energy", "inside", "area", "both", "either", "person"), 0.0)
    for y, x in itertools.product(*map(range, person.shape)):
        here, above = bool(person[y, x]), values[y, x] > 0.5
        count["energy"] += values[y, x]
        count["inside"] += values[y, x] * here
        count["area"] += above
        count["both"] += above and here
        count["either"] += above or here
        count["person"] += here
    return {
        "energy_inside": count["inside"] / count["energy"],
        "inside": count["both"] / count["person"],
        "spill": 1 - count["both"] / count["area"],
        "iou": count["both"] / count["either"],
        "pointing": np.mean([person[y, x] for y, x in np.argwhere(values > values.max() - 1e-9)]),
    }


def test_worked_by_hand() -> None:
    """Above 4 are 8, 6 (both the person's) and 5 (the person's); the 4s are not above."""
    assert loc.energy_inside(MAP, PERSON).item() == pytest.approx((8 + 6 + 5 + 3) / 32)
    assert [share.item() for share in loc.coverage(MAP, PERSON)] == pytest.approx([3 / 4, 0])
    assert loc.coverage(MAP, PERSON, threshold=0.4)[1].item() == pytest.approx(2 / 5)
    assert loc.iou(MAP, PERSON, threshold=0.4).item() == pytest.approx(3 / 6)
    assert loc.pointing_game(MAP, PERSON).item() == 1
    assert loc.pointing_game(MAP, ~PERSON).item() == 0


def right_cue(maps: Tensor, parts: Tensor, part: Tensor) -> Tensor:
    return loc.right_cue((maps,), (parts,), part)


@pytest.mark.parametrize("size", [(12, 8), (3, 2), (5, 3)])
def test_against_counting_pixels(size: tuple[int, int]) -> None:
    maps, masks, parts = random_case(size)
    expected = [slow(m.numpy(), t.numpy()) for m, t in zip(maps, masks, strict=True)]
    for name, measure in MEASURES.items():
        values = [one[name] for one in expected]
        np.testing.assert_allclose(measure(maps, masks), values, rtol=1e-9)
        np.testing.assert_allclose(measure(maps.float().numpy(), masks.numpy()), values, rtol=1e-4)
    for b, p in itertools.product(range(len(maps)), range(3)):
        values, where = enlarged(maps[b].clamp_min(0).numpy(), 12, 8), parts[b].numpy()
        mine, rest = values[where == p + 1], values[(where > 0) & (where != p + 1)]
        hit = right_cue(maps[b : b + 1], parts[b : b + 1], torch.tensor([p]))
        assert hit.item() == (mine.mean() > rest.mean())


def test_a_larger_map_is_averaged_not_sampled() -> None:
    fine = torch.zeros(1, 24, 16)
    fine[0, 1, 1] = 1  # a single bright pixel, in the corner's block of 2 x 2
    small = loc.resized_maps(fine, (12, 8))[0]
    assert (small.argmax().item(), (small > 0).sum().item() > 0) == (0, True)
    assert loc.energy_inside(fine, torch.arange(96).view(1, 12, 8) < 8 * 3).item() == pytest.approx(1)


def test_scale_changes_nothing() -> None:
    maps, masks, _ = random_case((6, 4))
    for measure in MEASURES.values():
        torch.testing.assert_close(measure(1024 * maps, masks), measure(maps, masks), rtol=0, atol=0)
        torch.testing.assert_close(measure(1e-30 * maps, masks), measure(maps, masks))


@pytest.mark.parametrize("size", [(12, 8), (5, 3)])
def test_a_uniform_map_gets_the_area(size: tuple[int, int]) -> None:
    maps, masks, parts = random_case(size)
    area = masks.double().mean((1, 2))
    expected = {"energy_inside": area, "inside": area / area, "spill": 1 - area, "iou": area, "pointing": area}
    for name, values in expected.items():
        torch.testing.assert_close(MEASURES[name](torch.ones_like(maps), masks), values, msg=name)
    assert right_cue(torch.ones_like(maps), parts, torch.zeros(5).long()).tolist() == [0.5] * 5


def test_moved_maps_keep_their_values_and_neighbours() -> None:
    maps, masks, _ = random_case((6, 4), count=40)
    generator, state = torch.Generator().manual_seed(3), torch.get_rng_state()
    moves = []
    for before, after in zip(maps.numpy(), random_like(maps, generator).numpy(), strict=True):
        steps = itertools.product(range(6), range(4))
        moves += [s for s in steps if np.array_equal(np.roll(before, s, (0, 1)), after)]
    assert len(moves) == 40
    assert len(set(moves)) > 12  # of 24 possible ones
    assert torch.equal(torch.get_rng_state(), state)
    found = loc.chance(lambda maps, masks: loc.iou(*maps, masks), [maps], masks, generator=generator.manual_seed(0))
    generator.manual_seed(0)
    draws = [loc.iou(random_like(maps, generator), masks) for _ in range(4)]
    torch.testing.assert_close(found, sum(draws) / 4)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_dead_maps_and_nobody_there(bad: float) -> None:
    maps, masks, parts = random_case((3, 2))
    whole = {name: measure(maps, masks) for name, measure in MEASURES.items()}
    maps[1], masks[2], keep = bad, False, torch.tensor([0, 3, 4])
    for name, measure in MEASURES.items():
        found = measure(maps, masks)
        torch.testing.assert_close(found[keep], whole[name][keep])  # nobody else is touched
        assert found[1] == 0 if name in ("inside", "iou") else found[1].isnan()
        assert found[2].isnan()
    assert right_cue(maps, parts, torch.ones(5).long()).isnan().tolist() == [False, True, False, False, False]
    assert right_cue(MAP, (PARTS > 0).long(), torch.tensor([0])).isnan().all()  # this part is all there is


def test_pairs_use_the_images_that_show_the_part() -> None:
    """A bag (part 3) in the first image alone: 3 / 22 of the map on 1 / 4 of the person; legs (part 1) in both."""
    without = PARTS.where(PARTS < 3, 0)
    maps, part = torch.cat([MAP, MAP]), torch.tensor([2, 0])
    parts = torch.cat([PARTS, PARTS]), torch.cat([without, without])
    assert loc.right_cue((maps, maps), parts, part).tolist() == [0, 1]
    assert loc.right_cue((MAP, MAP), (without, without), torch.tensor([2])).isnan().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loc.energy_inside(MAP[0], PERSON), "expected 3 masks"),
        (lambda: loc.energy_inside(MAP[0, :1], PERSON), r"expected maps \(B, h, w\)"),
        (lambda: loc.energy_inside(MAP, PERSON[0]), "expected 1 masks"),
        (lambda: loc.energy_inside(MAP, PERSON.float()), "of bools, got torch.float32"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
