"""What the inspector writes and reads: notes of several people, exports, pages; and the command that opens it."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import casnkit as ck
from casnkit.__main__ import main
from casnkit.inspector import Inspector, command
from casnkit.inspector.export import FIGURES
from casnkit.inspector.notes import Notes

# Notes


def test_notes_of_two_are_merged(tmp_path: Path) -> None:
    first, second = Notes(tmp_path / "notes.json"), Notes(tmp_path / "notes.json")
    first.put("a/IMG 0000.jpg", "mine", "x, y,x")
    second.put("b/IMG 0000.jpg", "<script>alert(1)</script>")
    second.put("a/IMG 0000.jpg", "  ")  # removed by the other
    kept = Notes(tmp_path / "notes.json")
    assert {key: note.text for key, note in kept.notes.items()} == {"b/IMG 0000.jpg": "<script>alert(1)</script>"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [".notes.json.lock", "notes.json"]


def write_twenty(path: Path, who: str) -> None:
    for k in range(20):
        Notes(path).put(f"{who}{k}", "text")


def test_notes_are_merged_between_processes(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_twenty, args=(tmp_path / "n.json", who)) for who in "ab"]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert len(Notes(tmp_path / "n.json").notes) == 40


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 3}', '{"format": 2, "notes": [], "presets": {}}', "[" * 10**5]
)
def test_damaged_notes_are_refused_and_never_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(ValueError, match=r"notes\.json"):
        Notes(tmp_path / "notes.json")
    assert (tmp_path / "notes.json").read_text() == text


def test_notes_lie_in_the_inspectors_own_folder(inspector: Inspector, tmp_path: Path) -> None:
    inspector.viewer.send = lambda *_: None
    inspector.ask({"ask": "note", "text": "seen \u202e", "tags": ["../../x", "~"]})
    inspector.set(tab="notes")
    shown = inspector.viewer.notes
    assert (shown["text"], list(shown["tags"])) == ("seen \u202e", ["../../x", "~"])
    assert [entry["query"] for entry in shown["list"]] == [0]
    assert {p.parent for p in tmp_path.rglob("*") if p.is_file()} == {tmp_path / "out"}
    key = inspector.desk.library.query.key(0)
    assert (inspector.desk.dataset.root / key).is_file()


# Exports


def test_every_figure_and_kind(inspector: Inspector) -> None:
    inspector.set(other="ide", hide="attended", query=4, ranked_by="sum")
    for view in FIGURES:
        path = inspector.export("svg", view)
        text = path.read_text(encoding="utf-8")
        assert "<text" in text, f"{view}: letters, not outlines"
    pair = inspector.desk.pair()
    assert f"{pair.probability:.3f}" in inspector.export("svg").read_text(encoding="utf-8")
    assert inspector.export("pdf").read_bytes()[:4] == b"%PDF"
    with Image.open(inspector.export("png")) as image:
        assert image.width > 1500
    assert json.loads(inspector.export("json").read_text()) == inspector.state()


def test_names_of_exports_tell_views_apart(inspector: Inspector) -> None:
    inspector.set(query=4, method="siamese")
    changes = [{}, {"gallery": 9}, {"query": 5}, {"network": "stripes"}, {"method": "plain-mean"}, {"threshold": 0.3},
               {"colours": "cividis"}, {"ranked_by": "features"}]  # fmt: skip
    names = set()
    for change in changes:
        inspector.set(**change)
        names.add(inspector.export("json").name)
    assert len(names) == len(changes)
    assert all(part in "".join(names) for part in ("query4", "gallery9", "casn", "siamese"))


def test_a_csv_is_no_formula(
    inspector_sources: dict[str, Any], write_picture: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("=1+1", "+a", "-b", "@c"):
        for split in ("query", "gallery"):
            write_picture(tmp_path / "data" / split / name / "=x.jpg")
    data = ck.open_dataset("folder", tmp_path / "data")
    names = [f"gallery/{name}/=x.jpg" for name in ("=1+1", "+a", "-b", "@c")]
    model, _, config = inspector_sources["casn"]
    inspector = Inspector({"casn": (model, config)}, data, out=tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO(inspector.export("csv").read_text())))
    assert sorted(row["file"] for row in rows) == sorted(names)
    object.__setattr__(inspector.desk.library.gallery, "root", tmp_path / "data" / "gallery")
    rows = list(csv.DictReader(io.StringIO(inspector.export("csv").read_text())))
    assert all(row["file"][0] == "'" for row in rows)


def test_a_page_holds_its_pairs(inspector: Inspector, tmp_path: Path) -> None:
    path = inspector.page(tmp_path / "page.html", [(0, 3), (4, 5)])
    before = inspector.state()
    text = path.read_text(encoding="utf-8")
    data = json.loads(text.split('<script type="application/json" id="view">')[1].split("</script>")[0])
    assert [entry["query"] for entry in data["pairs"]] == [0, 4]
    assert inspector.state() == before
    with pytest.raises(ValueError, match="1 to 50"):
        inspector.page(tmp_path / "page.html", [(0, 1)] * 51)


# The command


def test_two_plain_pictures_suffice(write_picture: Callable[..., Path], tmp_path: Path) -> None:
    paths = [str(write_picture(tmp_path / f"{name}.jpg", (k, 90, 60))) for k, name in enumerate(("a", "b & <i>"))]
    run, data = command.chosen(paths)
    inspector = Inspector(run, data, out=tmp_path / "out")
    tiles = inspector.viewer.strip["tiles"]
    assert [(tile["status"], tile["name"]) for tile in tiles] == [("unknown", "b & <i>.jpg")]
    assert "truth" not in inspector.viewer.pair["verdict"]
    assert "b & <i>.jpg" in inspector.viewer.pair["gallery"]["title"]
    inspector.set(query=1)
    assert [tile["name"] for tile in inspector.viewer.strip["tiles"]] == ["a.jpg"]


@pytest.mark.parametrize(
    ("what", "words"),
    [(["nowhere/at/all"], "nowhere"), (["one.jpg"], "at least two pictures"), (["one.jpg", "text.jpg"], "text.jpg"),
     (["gap-casn", "one.jpg", "gone.jpg"], "gone.jpg"), (["run", "one.jpg", "one.jpg"], "expected JSON")],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_sentence(
    what: list[str], words: str, write_picture: Callable[..., Path], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "one.jpg")
    for name in ("text.jpg", "run/run.json", "half/run.json", "half/model.safetensors"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("no picture")
    shutil.copy(ck.experiments.FOLDER / "gap-casn" / "run.json", "half")
    assert main(["inspect", *what, "--no-browser"]) == 2
    assert words in capsys.readouterr().err
    command.show(what)
    assert words in (told := capsys.readouterr().out)
    assert told.startswith("casnkit: ")
    command.show(["half", "one.jpg", "one.jpg"])  # where the command cannot see it, the page says it
    assert "half/model.safetensors could not be read" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "one.jpg", "run", "text.jpg"]


SERVER = """import json, os, sys, time
known = {"pid": os.getpid(), "arguments": sys.argv[1:], "notebook": json.load(open("inspector.ipynb"))}
json.dump(known, open(%r, "w"))
os.rename(%r, %r)
time.sleep(600)
"""


def test_the_notebook_that_is_served_opens_the_inspector_and_ends_with_it(
    write_picture: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In the server's place stands a program that writes down what it was given, and never ends by itself."""
    known = tmp_path / "known.json"
    (tmp_path / "modules" / "voila").mkdir(parents=True)
    (tmp_path / "modules" / "voila" / "__init__.py").touch()
    program = SERVER % (f"{known}.new", f"{known}.new", str(known))
    (tmp_path / "modules" / "voila" / "__main__.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))

    def end_it() -> None:
        for _ in range(600):
            if known.exists():
                break
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    paths = [str(write_picture(tmp_path / f"it's {k}.jpg", (k, 90, 60))) for k in range(2)]
    before, killer = signal.getsignal(signal.SIGTERM), threading.Thread(target=end_it)
    killer.start()
    assert main(["inspect", *paths, "--no-browser", "--out", str(tmp_path / "out")]) == 0
    killer.join()
    assert signal.getsignal(signal.SIGTERM) is before
    served = json.loads(known.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(served["pid"], 0)
    assert "--no-browser" in served["arguments"]
    assert "http://127.0.0.1:" in capsys.readouterr().out
    found: dict[str, Any] = {}
    exec("".join(served["notebook"]["cells"][0]["source"]).replace("show(", "shown = show("), found)
    assert len(found["shown"].strip["tiles"]) == 1
