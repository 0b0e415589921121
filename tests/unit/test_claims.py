"""The paper's claims as numbers: against planted maps whose truth is known, slow counting, and data that lack the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from imitations import imitate
from torch import Tensor

import casnkit as ck
from casnkit import attention
from casnkit.data.people import DIFFICULTY, PARTS, lookalike_pairs, synthesize
from casnkit.data.records import ReidDataset
from casnkit.experiments import claims
from casnkit.ranking import Extracted
from casnkit.runs import RunInfo

CONFIG = ck.profile("smoke", height=64, width=32)


def run_on(dataset: ReidDataset) -> RunInfo:
    """A run that was trained on this data set."""
    return RunInfo(CONFIG, dataset.train.identities, {"root": str(dataset.root)}, {})


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> ReidDataset:
    folder = tmp_path_factory.mktemp("people")
    synthesize(folder, "tiny", processes=1, progress=False, difficulty=replace(DIFFICULTY, lookalike_share=1.0))
    return ck.open_dataset(str(folder))


@pytest.fixture
def model(make_model) -> ck.CASN:
    return make_model(12, torch.float32)


def plant(monkeypatch: pytest.MonkeyPatch, model: ck.CASN, wanted: str) -> None:
    """Feature maps whose every channel is what is ``wanted`` of each picture: its mask, or one part of it."""

    def planted(split, size, **options):
        parts = np.stack([split.parts(i) for i in range(len(split))])
        truth = parts > 0 if wanted == "mask" else parts == PARTS.index(wanted) + 1
        masks.append(torch.from_numpy(truth)[:, 1::2, 1::2].float())
        return torch.zeros(len(split), 3, *size, dtype=torch.uint8)

    def extract(model, images, **options):
        maps = torch.cat(masks)[:, None].expand(-1, model.channels, -1, -1)
        masks.clear()
        return Extracted(model.pool(maps).detach(), maps)

    masks: list[Tensor] = []
    monkeypatch.setattr(claims, "load_images", planted)
    monkeypatch.setattr(claims, "extract", extract)


@pytest.fixture
def seen(model: ck.CASN, make_images) -> Extracted:
    """What the model makes of eight images."""
    with torch.no_grad():
        maps = model.feature_map(make_images(8, 64, 32, torch.float32))
        return Extracted(model.pool(maps), maps)


def test_every_number_is_there_beside_chance_and_plain_mean(people: ReidDataset, model: ck.CASN, make_model) -> None:
    state, rng_state = [m.training for m in model.train().modules()], torch.get_rng_state()
    found = claims.measure_claims(model, people, CONFIG, run_on(people), images=30, pairs=20)
    assert [m.training for m in model.modules()] == state
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert found == claims.measure_claims(model, people, CONFIG, run_on(people), images=30, pairs=20)
    measures = ("coverage", "spill", "energy_inside", "cue_pairs")
    expected = {f"{m}_{k}" for m in measures for k in ("ia", "siamese", "plain", "plain_chance", "uniform")}
    agreement = {f"{m}_{k}" for m in ("auc", "distance_same") for k in ("ia", "siamese", "plain", "frozen")}
    assert expected | agreement | {"coverage_ia_train"} < set(found)
    assert all(0 <= value <= 100 for value in found.values())
    other = replace(run_on(people), data={"root": "/other/people"})  # the same pids, other faces
    elsewhere = claims.measure_claims(model, people, CONFIG, other, images=30, pairs=20)
    assert set(found) - set(elsewhere) == {name for name in found if "train" in name or "frozen" in name}
    assert found["cue_pairs_uniform"] == 50
    model = make_model(9, torch.float32, pooling="stripes", stripes=4)  # trained on other people
    config = CONFIG.replace(ranking={"siamese_mode": "gradcam", "pair_order": "both"})
    found = claims.measure_claims(model, people, config, images=4, pairs=6)
    assert "coverage_ia_train" not in found, "nothing is known of training images"


def test_attention_that_is_the_person_is_perfect(people: ReidDataset, model: ck.CASN, monkeypatch) -> None:
    plant(monkeypatch, model, "mask")
    found = claims.measure_claims(model, people, CONFIG, run_on(people), images=20, pairs=20)
    for name in ("plain", "siamese", "plain_train"):
        for measure in ("coverage", "energy_inside"):
            assert found[f"{measure}_{name}"] == pytest.approx(100, abs=1e-3)
        assert found[f"spill_{name}"] == pytest.approx(0, abs=1e-3)
        assert found[f"coverage_{name}_chance"] < 70
    assert found["cue_pairs_plain"] == 50  # equal weight on everything that is person


@pytest.mark.parametrize("part", ["bag", "legs", "torso"])
def test_a_map_of_one_part_is_right_where_people_differ_in_it(people, model, monkeypatch, part: str) -> None:
    plant(monkeypatch, model, part)
    found = claims.measure_cues(model, people, CONFIG, 20, np.random.default_rng(0))
    splits, pairs, parts = claims.draw_lookalikes(people, 20, np.random.default_rng(0))
    where = [split.parts(i)[1::2, 1::2] for split in splits for i in range(len(split))]
    hits = []
    for pair, differs in zip(pairs, parts, strict=True):
        area, share = [], []
        for k in pair:
            counts = np.bincount(where[k].reshape(-1), minlength=8)[1:]
            if counts[differs] and counts[PARTS.index(part)]:  # else nothing to see, or a map that says nothing
                area.append(counts[differs] / counts.sum())
                share.append(float(PARTS[differs] == part))
        if area:
            hits.append(np.mean(share) > np.mean(area))
    assert len(hits) > 3
    assert found["cue_pairs_plain"] == pytest.approx(100 * np.mean(hits))
    if any(PARTS[p] == part for p in parts):
        assert 0 < np.mean(hits) < 1


def test_pairs_are_what_they_are_called(people: ReidDataset) -> None:
    splits, matched, same, different = claims.draw_pairs(people, 8, 40, np.random.default_rng(1))
    pids, camids = (np.concatenate([getattr(split, key) for split in splits]) for key in ("pids", "camids"))
    assert set(matched[:, 0]) == set(range(8))
    assert set(matched[:, 1]) == set(range(8, len(pids)))
    for pairs, one_person in ((matched, True), (same, True), (different, False)):
        assert len(pairs) == len({tuple(pair) for pair in pairs}) > 3
        assert ((pids[pairs[:, 0]] == pids[pairs[:, 1]]) == one_person).all()
        assert (camids[pairs[:, 0]] != camids[pairs[:, 1]]).all()
    assert set(map(tuple, matched)) <= set(map(tuple, same))
    splits, pairs, parts = claims.draw_lookalikes(people, 24, np.random.default_rng(1))
    pids = np.concatenate([split.pids for split in splits])
    known = {pair[:2]: PARTS.index(pair[2]) for pair in lookalike_pairs(people.root)}
    drawn = [tuple(pids[pair].tolist()) for pair in pairs]
    assert [known[pair] for pair in drawn] == parts.tolist(), "look-alikes"
    assert max(map(drawn.count, drawn)) <= 24 // len(set(drawn))


def test_identification_explains_the_predicted_or_the_given_identity(model: ck.CASN, seen: Extracted) -> None:
    predicted = torch.tensor([model.id_scores(f[None])[0].argmax() for f in seen.features])
    for labels, expected in ((None, predicted), (torch.arange(8), torch.arange(8))):
        definition = attention.autograd_map(
            seen.feature_maps, lambda a, own=expected: model.id_scores(model.pool(a)).gather(1, own[:, None])[:, 0]
        )
        torch.testing.assert_close(claims.identification_maps(model, seen, labels), definition, rtol=1e-4, atol=1e-7)


def test_difference_maps_are_grad_cam_of_minus_z_1(model: ck.CASN, seen: Extracted) -> None:
    pairs = np.array([[0, 3], [1, 4], [5, 2]])
    first, second = seen.feature_maps[pairs[:, 0]], seen.feature_maps[pairs[:, 1]]
    expected = [
        attention.autograd_map(first, lambda a: -model.pair_scores(model.pool(a) - model.pool(second))[:, 1]),
        attention.autograd_map(second, lambda a: -model.pair_scores(model.pool(first) - model.pool(a))[:, 1]),
    ]
    assert max(m.max() for m in expected) > 0
    found = claims.difference_maps(model, seen, pairs)
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-7)


def test_agreement_against_one_pair_after_the_other(model: ck.CASN, seen: Extracted, make_images) -> None:
    images, maps = make_images(8, 64, 32, torch.float32), seen.feature_maps
    same, different = np.array([[0, 4], [1, 5], [2, 6]]), np.array([[0, 5], [1, 6], [2, 7], [3, 4]])
    result, pairs = claims.agreement(model, seen, same, different, CONFIG), np.concatenate([same, different])
    with torch.no_grad():
        both = [model.siamese_attention(images[[i]], images[[j]]) for i, j in pairs]
    siamese = [attention.attention_distance(*each).item() for each in both]
    plain = [attention.attention_distance(maps[[i]].mean(1), maps[[j]].mean(1)).item() for i, j in pairs]
    for name, distances in (("siamese", siamese), ("plain", plain)):
        wins = [(d > s) + (d == s) / 2 for s in distances[:3] for d in distances[3:]]
        assert result[f"auc_{name}"] == pytest.approx(100 * np.mean(wins))


def test_without_truth_the_rest_is_measured_and_said(tmp_path: Path, make_model) -> None:
    data = ck.open_dataset(str(imitate("market1501", tmp_path)))
    model = make_model(len(data.train.identities), torch.float32)
    with pytest.warns(UserWarning, match="no person masks, body-part maps, look-alikes in its test"):
        found = claims.measure_claims(model, data, CONFIG.replace(variant="ide"), images=6, pairs=6)
    kinds = ("auc", "distance_same", "distance_different")
    assert set(found) == {f"{name}_{kind}" for name in kinds for kind in ("ia", "siamese", "plain")}
    alone = replace(data, gallery=data.gallery.subset(data.gallery.pids < 1))
    with pytest.raises(ValueError, match=r"a match in the gallery of .*, found none"):
        claims.measure_claims(model, alone, CONFIG)
