"""The live view: what it shows is recomputed pair by pair, and what it must never do is tried."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imitations import imitate
from PIL import Image

import casnkit as ck
from casnkit import runs
from casnkit.data.images import normalise
from casnkit.notebook import LiveView, pairs_to_watch
from casnkit.training import train


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ck.ReidDataset:
    return ck.open_dataset(str(imitate("market1501", tmp_path_factory.mktemp("market"))))


def config(variant: str = "casn", **changes: object) -> ck.Config:
    small = {"height": 32, "width": 16, "batch_size": 4, "padding": 1, "epochs": 3}
    return ck.profile("smoke", variant=variant, **{**small, **changes})


def row(epoch: int, **changes: object) -> dict[str, Any]:
    return {"epoch": epoch, "total": 2.0 / epoch, "learning_rate": 0.03, "images_per_second": 100.0, **changes}


def split(pids: list[int], camids: list[int]) -> ck.Split:
    return ck.Split([f"{i}.png" for i in range(len(pids))], pids, camids, "gallery")


def test_pairs_show_one_person_in_two_cameras_where_enough_people_are(dataset: ck.ReidDataset) -> None:
    people, cameras = [1, 1, 2, 2, 3, 3, 4, 4, 0, 0, -1, -1, 5], [1, 2, 1, 1, 3, 1, 2, 9, 1, 2, 1, 2, 1]
    part = split(people, cameras)
    assert {tuple(sorted(pair)) for pair in pairs_to_watch(part).tolist()} == {(0, 1), (4, 5), (6, 7)}
    alone = split([1, 2, 0], [1, 1, 1])
    with pytest.raises(ValueError, match="somebody with two images"):
        LiveView(ck.ReidDataset("x", dataset.root, alone, alone, alone), config())


@pytest.mark.parametrize("mode", ["paper", "gradcam"])
def test_siamese_maps_equal_single_pairs(dataset: ck.ReidDataset, make_model: Any, mode: str) -> None:
    view, model = LiveView(dataset, config(loss={"siamese_mode": mode})), make_model()
    view(1, model, row(1))
    for k, pair in enumerate(view.pairs):
        images = [dataset.gallery.image(n).resize((16, 32), Image.Resampling.BILINEAR) for n in pair]
        inputs = [normalise(torch.from_numpy(np.array(i).transpose(2, 0, 1)[None])).double() for i in images]
        for found, wanted in zip(view.maps[1][2 * k :], model.siamese_attention(*inputs, mode=mode), strict=False):
            np.testing.assert_allclose(found, wanted[0].detach(), atol=1e-6)
    assert (len(view.maps[1]), view.maps[1].max() > 0) == (6, True)


def test_identification_maps_of_the_highest_score(dataset: ck.ReidDataset, make_model: Any) -> None:
    view, model = LiveView(dataset, config("ide")), make_model()
    view(1, model, row(1))
    for found, image in zip(view.maps[1], normalise(view.images).double().split(1), strict=True):
        scores = model.id_scores(model.pool(model.feature_map(image)))[0].tolist()
        wanted = model.identification_attention(image, torch.tensor([scores.index(max(scores))]))[0]
        np.testing.assert_allclose(found, wanted.detach(), atol=1e-6)


def test_looking_changes_nothing(dataset: ck.ReidDataset, tmp_path: Path) -> None:
    """A run that was looked at ends in the same bits as one that was not, and keeps its modes."""
    settings = config(model={"id_dropout": 0.3})
    view, kept = LiveView(dataset, settings), []

    def look(epoch: int, model: ck.CASN, log_row: dict[str, float]) -> None:
        model.train()
        model.pair_head.eval()
        before = [m.training for m in model.modules()], torch.random.get_rng_state()
        view(epoch, model, log_row)
        kept.append([m.training for m in model.modules()] == before[0])
        kept.append(torch.equal(torch.random.get_rng_state(), before[1]))

    for name, call in (("seen", look), ("unseen", None)):
        train(dataset, settings, tmp_path / name, device="cpu", progress=False, on_epoch=call)
    assert kept == [True] * 6
    seen, unseen = (runs.read_tensors(tmp_path / n / "model.safetensors") for n in ("seen", "unseen"))
    assert all(torch.equal(seen[key], unseen[key]) for key in unseen)


def test_widgets_get_new_bytes_and_errors_go_no_further(dataset: ck.ReidDataset, make_model: Any, capsys) -> None:
    view, model = LiveView(dataset, config()), make_model()
    curves, film = view.widget.children
    assert curves.layout.display == "none", "an empty image would show as a broken one"
    sizes = set()
    for epoch in (1, 2, 3):
        before = film.value
        view(epoch, model, row(epoch))
        assert film.value != before
        sizes.add(Image.open(io.BytesIO(film.value)).size)
    assert len(sizes) == 1, "the page jumps"
    assert (view.widget.children, capsys.readouterr().out) == ((curves, film), "")
    view(3, None, row(3))
    assert "live view not drawn: AttributeError" in capsys.readouterr().out
    view(1, model, row(1, total=9.0))
    assert ([r["total"] for r in view.rows], sorted(view.maps)) == ([9.0], [1]), "a resumed run goes on from here"
