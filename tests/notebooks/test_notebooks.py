"""Notebooks are clean, equal to their paired scripts, short-celled, alike in form, and run from first to last at ``smoke``.

Solutions hold the same checking cells as their notebook, and there every check says that the answer is right.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import jupytext
import lessons
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.ipynb"))
OPENING = ("**You will learn**", "**You need**", "**Runtime**", "`smoke`", "`quick`", "`paper`")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in code_cells(notebook) if tag in cell.metadata.get("tags", [])]


def execute(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    noise = [o for c in code_cells(notebook) for o in c.outputs if o.get("name") == "stderr" and "Warning" in o.text]
    assert not noise, noise[0].text
    return notebook


def verdicts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each checking cell says."""
    shown = [[o for o in cell.outputs if o.output_type == "execute_result"] for cell in tagged(notebook, "check")]
    return [outputs[-1].data["text/plain"] if outputs else "" for outputs in shown]


def test_there_are_notebooks() -> None:
    assert "00_start_here" in [path.stem for path in NOTEBOOKS]
    scripts = [path for folder in (FOLDER, FOLDER / "solutions") for path in folder.glob("*.py")]
    assert sorted(path.with_suffix(".ipynb") for path in scripts) == sorted([*NOTEBOOKS, *SOLUTIONS])


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_notebook_is_clean_and_paired(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    script = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells]
    tags = [[c.metadata.get(key) for c in book.cells] for key in ("tags", "title") for book in (notebook, script)]
    assert tags[0] == tags[1]
    assert tags[2] == tags[3]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_clean_and_not_older_than_the_code(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.casnkit == {"profile": "quick", "code": lessons.fingerprint(notebook)}
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert {o.output_type for o in outputs} <= {"stream", "display_data", "execute_result"}, "an error is kept"
    assert [o for o in outputs if o.get("name") == "stderr"] == []
    assert any("image/png" in o.get("data", {}) for o in outputs)
    kept = json.dumps([o if o.output_type == "stream" else {**o.data, "image/png": ""} for o in outputs])
    assert re.findall(r"(?:/home|/root|/tmp|/work|/Users|[A-Z]:\\\\)[/\\\\\w.-]*|0x[0-9a-f]{8,}|Warning", kept) == []
    assert path.stat().st_size < 1.25 * 2**20


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_keep_no_outputs(path: Path) -> None:
    assert [
        cell for cell in code_cells(nbformat.read(path, as_version=4)) if cell.outputs or cell.execution_count
    ] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_reads_as_all_do(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells, opening = code_cells(notebook), notebook.cells[0].source
    assert len(cells) <= 40
    assert statistics.median(len(cell.source.splitlines()) for cell in cells) <= 8
    (parameters,) = tagged(notebook, "parameters")
    assert "profile =" in parameters.source
    setup = cells[cells.index(parameters) + 1].source.splitlines()
    assert "import casnkit as ck" in setup
    assert len([line for line in setup if line]) <= 8
    assert opening.startswith(f"# {path.stem[:2]} · ")
    ((words, picture),) = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", opening)
    assert len(words) > 20, "the picture's alternative text"
    assert (FOLDER / picture).is_file()
    last = path == NOTEBOOKS[-1]  # the last notebook leaves no question to a next one
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = ["## Exercises", "## References", *([] if last else ["## A question for the next notebook"])]
    assert [part for part in OPENING if part not in opening] == []
    assert [heading for heading in headings if heading not in text] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_have_answers_checks_and_solutions(path: Path) -> None:
    notebook, solution = (nbformat.read(place / path.name, as_version=4) for place in (FOLDER, FOLDER / "solutions"))
    checks = [cell.source for cell in tagged(notebook, "check")]
    assert len(tagged(notebook, "exercise")) == len(checks) >= 3
    assert "\n".join(cell.source for cell in notebook.cells).count("<details><summary>Hint</summary>") >= 3
    assert [cell.source for cell in tagged(solution, "check")] == checks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_at_smoke(path: Path, smoke_environment: None) -> None:
    notebook = execute(path)
    pictures = [o for c in code_cells(notebook) for o in c.outputs if "image/png" in o.get("data", {})]
    assert pictures, "the notebook shows no picture"
    assert [v for v in verdicts(notebook) if not v.startswith("○")] == [], "an exercise is answered already"


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_are_right(path: Path, smoke_environment: None) -> None:
    said = verdicts(execute(path))
    assert len(said) >= 3
    assert [v for v in said if not v.startswith("✓")] == []


def test_casn_has_less_than_a_hundred_lines() -> None:
    cells = tagged(nbformat.read(FOLDER / "05_casn_in_a_hundred_lines.ipynb", as_version=4), "casn")
    lines = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert 50 < len(lines) <= 100
