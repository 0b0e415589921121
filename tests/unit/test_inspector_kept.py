"""What a network saw is kept between sessions, and read back only where everything is the same."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inspector_world import config, make_data, make_networks

import casnkit as ck
from casnkit.data.files import DiskFullError, write_json
from casnkit.inspector import kept, loading
from casnkit.inspector.desk import Desk
from casnkit.models import CASN
from casnkit.runs import save_tensors


@pytest.fixture
def data(tmp_path: Path) -> ck.ReidDataset:
    return make_data(tmp_path / "market", people=6)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that networks were shown, a number for each batch but the first picture of a split."""
    found: list[int] = []
    extract = loading.extract

    def watched(model: CASN, batches: list[torch.Tensor], **options: Any) -> Any:
        found.extend(len(batch) for batch in batches if len(batch) > 1)
        return extract(model, batches, **options)

    monkeypatch.setattr(loading, "extract", watched)
    return found


def row(desk: Desk) -> np.ndarray:
    return np.stack([desk.network().row(i, by) for i in (0, 3) for by in ("features", "attention", "sum")])


def test_the_second_time_no_picture_is_looked_at(
    make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path, seen: list[int]
) -> None:
    model = make_networks(make_model)["casn"]
    plain = row(Desk({"casn": model}, data))
    assert sum(seen) == len(data.query) + len(data.gallery)
    first = row(Desk({"casn": model}, data, cache=tmp_path / "kept"))
    seen.clear()
    again = row(Desk({"casn": model}, data, cache=tmp_path / "kept"))
    assert seen == []
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(again, plain)


@pytest.mark.parametrize("what", ["weights", "picture", "size", "file cut", "marker", "format"])
def test_what_differs_is_looked_at_again(
    make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path, seen: list[int], what: str
) -> None:
    networks = make_networks(make_model)
    cache, (model, settings) = tmp_path / "kept", networks["casn"]
    Desk({"casn": (model, settings)}, data, cache=cache)
    place = cache / "casn" / "gallery"
    marker = json.loads((place / kept.MARKER).read_text())
    if what == "weights":
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1e-3
    elif what == "picture":
        os.utime(data.gallery.paths[3], ns=(1, 1))
    elif what == "size":
        settings = settings.replace(data={"height": 48})
    elif what == "file cut":
        (place / "maps.bin").write_bytes((place / "maps.bin").read_bytes()[:-4])
    elif what == "marker":
        (place / kept.MARKER).write_text("{")
    else:
        write_json(place / kept.MARKER, {**marker, "format": 0})
    seen.clear()
    found = row(Desk({"casn": (model, settings)}, data, cache=cache))
    assert sum(seen) >= len(data.gallery)
    np.testing.assert_array_equal(found, row(Desk({"casn": (model, settings)}, data)))


def test_nothing_is_unpickled(make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    model = make_networks(make_model)["casn"]
    Desk({"casn": model}, data, cache=tmp_path / "kept")
    place = tmp_path / "kept" / "casn" / "gallery"
    bomb = pickle.dumps(Bomb())
    for name in ("features.bin", "maps.bin"):
        size = (place / name).stat().st_size
        (place / name).write_bytes(bomb + bytes(size - len(bomb)))
    Desk({"casn": model}, data, cache=tmp_path / "kept")
    assert not (tmp_path / "exploded").exists()


def test_unreadable_pictures_are_known_the_second_time(
    make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path, seen: list[int]
) -> None:
    Path(data.gallery.paths[5]).write_bytes(b"no picture")
    model = make_networks(make_model)["casn"]
    hints = Desk({"casn": model}, data, cache=tmp_path / "kept").hints
    seen.clear()
    desk = Desk({"casn": model}, data, cache=tmp_path / "kept")
    assert seen == []
    assert desk.hints == hints
    assert desk.ranking(0).tile(5).status == "unreadable"


def test_a_large_gallery_is_kept_below_its_run(
    make_model: Callable[..., CASN], data: ck.ReidDataset, tmp_path: Path, seen: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    model = make_model(dtype=torch.float32, seed=1)
    facts = {"name": "made", "root": "", "images": {"train": 1, "query": 1, "gallery": 1}}
    info = ck.runs.RunInfo(config().replace(model=vars(model.config)), np.arange(model.num_ids), facts, {})
    write_json(run / "run.json", info.to_dict())
    save_tensors(run / "model.safetensors", model.state_dict())
    Desk({"run": str(run)}, data)
    assert not (run / "inspector").exists()  # a small one is looked at within a moment
    monkeypatch.setattr(kept, "LEAST_IMAGES", 10)
    first = row(Desk({"run": str(run)}, data))
    assert sorted(path.name for path in (run / "inspector").iterdir()) == ["gallery", "query"]
    seen.clear()
    np.testing.assert_array_equal(row(Desk([run], data)), first)
    assert seen == []
    shutil.rmtree(run / "inspector")
    monkeypatch.setattr(kept, "write", lambda *_: (_ for _ in ()).throw(DiskFullError("full")))
    np.testing.assert_array_equal(row(Desk([run], data)), first)  # not asked for: it goes on without
    with pytest.raises(ValueError, match="full"):
        Desk([run], data, cache=tmp_path / "asked")
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    assert kept.place_of(run, None, "run", data.gallery, 101) is None
