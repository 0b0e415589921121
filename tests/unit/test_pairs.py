"""Pair sampling: every promise is recounted by plain loops over the plan."""

import numpy as np
import pytest

from casnkit.data.pairs import PairSampler


def people(counts: list[int], cameras: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``counts[i]`` images of person i + 1, shuffled, with random cameras."""
    rng = np.random.default_rng(seed)
    pids = rng.permutation(np.repeat(np.arange(1, len(counts) + 1), counts))
    return pids, rng.integers(1, cameras + 1, len(pids))


CASES = {
    "whole batches": ([4] * 16, 16, 0.5),
    "last batch incomplete": ([3] * 23, 16, 0.5),
    "much smaller than a batch": ([2, 1], 64, 0.25),
    "some single images": ([5] * 20 + [1] * 30, 16, 0.5),
    "odd batch": ([3] * 20, 7, 0.5),
    "only positive": ([3] * 20, 8, 1.0),
    "only negative": ([3] * 20, 8, 0.0),
    "just enough": ([2] * 16 + [1] * 32, 16, 0.5),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("across", [True, False])
def test_every_promise_holds(case, across):
    counts, batch, share = CASES[case]
    pids, camids = people(counts)
    sampler = PairSampler(pids, camids, batch, share, across_cameras=across, seed=3)
    for epoch in range(4):
        plan = sampler.epoch(epoch)
        assert plan.dtype == np.int64
        assert plan.shape == (-(-len(pids) // batch), batch, 2) == (sampler.steps, batch, 2)
        anchors = [int(a) for step in plan for a, _ in step]
        assert sorted(anchors[: len(pids)]) == list(range(len(pids)))  # each image once, then the filling
        for step in plan:
            same = 0
            for a, b in step:
                assert a != b
                if pids[a] != pids[b]:
                    continue
                same += 1
                elsewhere = [i for i in range(len(pids)) if pids[i] == pids[a] and camids[i] != camids[a]]
                if across and elsewhere:
                    assert camids[a] != camids[b]
            assert same == round(share * batch)


def test_partners_are_uniform_over_the_allowed_images():
    pids = np.array([1, 1, 1, 1, 1, 2, 2, 3])
    camids = np.array([1, 1, 2, 2, 3, 1, 1, 1])
    sampler = PairSampler(pids, camids, batch_size=8, seed=1)
    seen = np.zeros((2, 8, 8))
    for epoch in range(3000):
        for a, b in sampler.epoch(epoch).reshape(-1, 2):
            seen[int(pids[a] == pids[b]), a, b] += 1
    for a in range(8):
        others = [b for b in range(8) if pids[b] == pids[a] and b != a]
        allowed = [b for b in others if camids[b] != camids[a]] or others
        for kind, targets in ((1, allowed), (0, [b for b in range(8) if pids[b] != pids[a]])):
            counts = seen[kind, a]
            assert set(np.flatnonzero(counts)) == set(targets)
            if targets:
                expected = counts.sum() / len(targets)
                chi2 = ((counts[targets] - expected) ** 2 / expected).sum()
                assert chi2 < len(targets) - 1 + 6 * np.sqrt(2 * len(targets))


def test_positive_places_do_not_depend_on_the_place_in_the_batch():
    """A batch split over processes must not give one of them all the positives; the last batch's filling included."""
    pids, camids = people([4] * 9)  # 36 images, 16 a batch: four regular places in the last one
    sampler = PairSampler(pids, camids, batch_size=16, positive_share=0.5)
    share = np.mean([sampler.is_positive(sampler.epoch(e)) for e in range(1500)], axis=0)
    np.testing.assert_allclose(share[:2], 0.5, atol=0.06)
    # The filling takes as many of the eight positives as it can (12 places), the regular ones none.
    np.testing.assert_array_equal(share[2, :4], 0)
    np.testing.assert_allclose(share[2, 4:], 8 / 12, atol=0.06)


def test_an_epoch_is_a_pure_function_of_seed_and_epoch():
    pids, camids = people([4] * 10)
    first, again, other = (PairSampler(pids, camids, seed=seed) for seed in (5, 5, 6))
    forward = [first.epoch(e) for e in range(3)]
    for e in (2, 0, 1, 2):
        np.testing.assert_array_equal(again.epoch(e), forward[e])
    assert not np.array_equal(forward[0], forward[1])
    assert not np.array_equal(other.epoch(0), forward[0])


def test_too_few_paired_images_give_all_the_positives_there_are():
    pids, camids = people([2] * 4 + [1] * 56)  # 8 usable anchors, 4 batches, 32 wanted
    sampler = PairSampler(pids, camids, batch_size=16)
    assert sampler.is_positive(sampler.epoch(0)).sum(axis=1).tolist() == [2, 2, 2, 2]
    assert sampler.notes[0].startswith("positive_share 0.5: 8 positive pairs per epoch")


@pytest.mark.parametrize(
    ("pids", "arguments", "message"),
    [
        ([], {}, "expected training images"),
        ([1, 1, 0, -1], {}, "2 of 4 pids are 0 \\(distractor\\) or less \\(junk\\)"),
        ([1, 2, 3], {}, "positive pair needs two images of one person"),
        ([1, 1, 1], {}, "negative pair needs two people"),
        ([1, 1, 2], {"camids": [1, 1]}, "2 camids"),
    ],
)
def test_bad_input_is_named(pids, arguments, message):
    camids = arguments.pop("camids", [1] * len(pids))
    with pytest.raises(ValueError, match=message):
        PairSampler(np.array(pids), np.array(camids), **arguments)


def test_half_of_the_anchors_show_every_image_about_once():
    pids, camids = np.repeat(np.arange(1, 21), 6), np.tile([1, 2, 3], 40)
    sampler = PairSampler(pids, camids, 10, 0.5, anchor_share=0.5)
    plan = sampler.epoch(0)
    assert plan.shape == (6, 10, 2), "120 images in 60 pairs"
    assert len(np.unique(plan[..., 0])) == 60, "no image is an anchor twice"
    assert (sampler.is_positive(plan).sum(1) == 5).all()
    assert set(sampler.epoch(1)[..., 0].ravel()) != set(plan[..., 0].ravel()), "others in the next epoch"
    whole = PairSampler(pids, camids, 10, 0.5, anchor_share=1.0).epoch(0)
    assert np.array_equal(whole, PairSampler(pids, camids, 10, 0.5).epoch(0))
