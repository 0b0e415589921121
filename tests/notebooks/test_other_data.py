"""The same notebooks on other data: imitated benchmarks, without masks, look-alikes or cameras, few pictures, few people.

A few notebooks always run, each on what it once failed on; all notebooks on all imitations where ``CASNKIT_ALL_DATA=1``
is set (half an hour on two cores). Real photographs are tried where ``../shared/data/pets-small`` is there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from imitations import LAYOUTS, Shape, draw, imitate
from PIL import Image
from test_notebooks import FOLDER, code_cells, execute, verdicts

PETS = Path(__file__).parents[3] / "shared" / "data" / "pets-small"
SHAPE = Shape(num_train=5, num_test=4, num_cameras=2, per_camera=2)
ODD = Shape(num_train=5, num_test=4, num_cameras=2, per_camera=2, size=(50, 60))  # not twice as tall as wide
SETS = (*LAYOUTS, "one picture each", "pets-small")
BOOKS = [path.stem for path in sorted(FOLDER.glob("*.ipynb")) if path.stem[:2] != "12"]  # 12 brings its own toy
ALWAYS = {
    "00": "one picture each",  # nobody to watch in the gallery
    "01": "folder",  # no cameras, no junk, no distractors
    "08": "market1501",  # too few pairs of two people for a rate of 1 %
    "10": "cuhk03-np-labeled",  # no query goes wrong
}
EVERYTHING = os.environ.get("CASNKIT_ALL_DATA") == "1"
CASES = [(name, book) for name in SETS for book in BOOKS if EVERYTHING or ALWAYS.get(book[:2]) == name]
NAN_IS_THE_POINT = re.compile(r"^(AP of query \d+: nan|.*nan where|.*nan without a hit)")


def write_one_picture_each(root: Path) -> Path:
    """Market-1501's layout, two cameras and one picture of each person in each, every picture of another size."""
    rng = np.random.default_rng(0)
    for pid, camid in np.ndindex(12, 2):
        folder = "bounding_box_train" if pid < 6 else ("query", "bounding_box_test")[camid]
        path = root / folder / f"{pid + 1:04d}_c{camid + 1}s1_000001_00.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = int(rng.integers(30, 60)), int(rng.integers(60, 120))
        Image.fromarray(draw(pid + 1, camid + 1, size, rng)).save(path)
    return root


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("other-data")


def data_of(name: str, place: Path) -> Path:
    """The set of that name, written once."""
    root = place / name.replace(" ", "-")
    if name == "pets-small":
        if not PETS.is_dir():
            pytest.skip(f"no photographs at {PETS}")
        return PETS
    if root.is_dir():
        return root
    if name == "one picture each":
        return write_one_picture_each(root)
    return imitate(name, root, shape=ODD if name.startswith("cuhk03") else SHAPE)


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Every line of text that a reader sees below a cell."""
    texts = [
        o.get("text", "") or o.get("data", {}).get("text/plain", "") for c in code_cells(notebook) for o in c.outputs
    ]
    return [line for text in texts for line in text.splitlines()]


@pytest.mark.parametrize(("name", "book"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_notebook_on_other_data(name: str, book: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASNKIT_PROFILE", "smoke")
    monkeypatch.setenv("CASNKIT_DATASET", str(data_of(name, place)))
    monkeypatch.setenv("CASNKIT_RUNS", str(place / "runs" / name.replace(" ", "-")))
    notebook = execute(FOLDER / f"{book}.ipynb")
    lines = printed(notebook)
    assert any(str(data_of(name, place)) in line for line in lines), "the data that it runs on is named"
    assert not [line for line in lines if "in the package" in line], "a network that was trained on drawn people"
    odd = [line for line in lines if re.search(r"\bnan\b|camera -1|cam -1", line) and not NAN_IS_THE_POINT.match(line)]
    assert odd == [], "numbers that do not exist, shown to the reader"
    assert [v for v in verdicts(notebook) if not v.startswith("○")] == [], "a checking cell does not work"
    assert [o for c in code_cells(notebook) for o in c.outputs if "image/png" in o.get("data", {})], "no picture"
