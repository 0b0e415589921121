"""The front page: its numbers are those that commands wrote, its links lead somewhere, and its commands run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from casnkit import cli, course, pages, renew
from casnkit.data.files import read_json
from casnkit.data.imitate import imitate
from casnkit.experiments import ablation
from casnkit.explain.league import findings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = ROOT / "figures"


def commands() -> list[str]:
    """Every command line in the page: in code blocks line by line, and between backquotes."""
    blocks = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    inline = [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]
    parts = [part.strip() for line in lines + inline for part in line.split("&&")]
    return sorted(
        {part for part in parts if part.startswith(("casnkit ", "pip ", "jupyter ", "voila ", "accelerate "))}
    )


def published(name: str) -> dict:
    return read_json(FIGURES / f"{name}.json")


def test_numbers_are_those_that_commands_wrote() -> None:
    for page in pages.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        names = re.findall(r"<!-- ([^/].*?) -->", text)
        assert names, f"{page} shows no result"
        for name in names:
            content = pages.BLOCKS[name](FIGURES)
            assert content, f"{page}: the file of the block {name!r} is missing"
            assert pages.with_block(text, name, content) == text, f"{page}: {name!r} is not what its file says"


def test_pages_are_renewed_from_files(tmp_path: Path) -> None:
    """An old number goes, what has no file stays, and a page that is right is left alone."""
    (tmp_path / "figures").mkdir()
    shutil.copyfile(FIGURES / "ablation.json", tmp_path / "figures" / "ablation.json")
    old = "a\n<!-- ablation -->\nformer number\n<!-- /ablation -->\nb\n<!-- league -->\nkept\n<!-- /league -->\n"
    (tmp_path / "README.md").write_text(old)
    assert pages.renew_pages(tmp_path) == [tmp_path / "README.md"]
    text = (tmp_path / "README.md").read_text()
    assert "former number" not in text
    assert "| CASN (IDE) | " in text
    assert "kept" in text
    assert pages.renew_pages(tmp_path) == []
    (tmp_path / "README.md").write_text("<!-- ablation -->\n")
    with pytest.raises(ValueError, match="found not both"):
        pages.renew_pages(tmp_path)


def test_every_notebook_is_in_the_course() -> None:
    files = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [lesson.name for lesson in course.COURSE] == files


def test_the_sentences_in_short_are_what_the_files_say() -> None:
    study = ablation.published("variants", FIGURES)
    found = {(entry["pooling"], entry["variant"]): entry for entry in study["groups"]}
    change = {key: entry["differences"] for key, entry in found.items() if "differences" in entry}
    assert all(change[p, v]["coverage_ia_train"]["low"] > 10 for p in ("gap", "stripes") for v in ("ide+ia", "casn"))
    assert all(change[p, v]["auc_siamese"]["low"] > 0 for p in ("gap", "stripes") for v in ("ide+sa", "casn"))
    accuracy = [entry[number] for entry in change.values() for number in ("rank_1", "mean_ap")]
    assert all(number["low"] <= 0 <= number["high"] for number in accuracy)
    points = {
        (e["variant"], e["setting"].partition(" [")[0]): e for e in ablation.published("open-points", FIGURES)["groups"]
    }
    moved = [points["ide", s]["differences"]["mean_ap"]["mean"] for s in ("positive_share=0.25", "weight_decay=0.0005")]
    assert min(map(abs, moved)) > max(abs(entry["mean_ap"]["mean"]) for entry in change.values())
    gap = [e for e in ablation.published("test-time", FIGURES)["readings"] if e["pooling"] == "gap"]
    for variant in ("ide+sa", "casn"):
        best = {
            mode: next(e for e in gap if (e["variant"], e["mode"]) == (variant, mode)) for mode in ("paper", "plain")
        }
        assert best["paper"]["gain"]["low"] > 0
        assert best["plain"]["gain"]["high"] > best["paper"]["gain"]["mean"]
        assert best["paper"]["paper_sum"]["high"] < best["paper"]["features"]["mean"]
    assert "hardly depends on the pair classifier" in " ".join(findings(published("league")))


@pytest.mark.parametrize("page", [*pages.PAGES, "CONTRIBUTING.md"])
def test_pictures_and_links_exist(page: str) -> None:
    for alt, target in re.findall(r"(!?\[[^\]]*\])\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        if "://" in target:
            continue
        there = (ROOT / page).parent / file if file else ROOT / page
        assert there.exists(), target
        assert not alt.startswith("![") or len(alt) > 30, f"{target} needs alternative text"
        if heading:
            found = re.findall(r"(?m)^#+ (.+)$", there.read_text(encoding="utf-8"))
            assert heading in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in found}, target


# What runs elsewhere, from first to last, and where.
ELSEWHERE = {
    "pip install": "the continuous integration and this suite's own installation",
    "jupyter lab": "tests/browser and tests/notebooks",
    "voila": "tests/browser",
    "accelerate launch": "tests/unit/test_training.py, two processes",
    "casnkit demo": "test_demo_stops_resumes_and_publishes",
    "casnkit ablate": "tests/unit/test_ablation.py",
    "casnkit league": "tests/unit/test_explain_league.py",
    "casnkit bench": "tests/unit/test_bench.py",
    "casnkit doctor": "tests/unit/test_doctor.py",
    "casnkit slides": "tests/unit/test_slides.py",
    "casnkit renew": "below, as a list",
    "casnkit --version": "argparse",
    "casnkit data check": "test_own_data_in_three_commands",
    "casnkit train": "test_own_data_in_three_commands",
    "casnkit evaluate": "test_own_data_in_three_commands",
    "casnkit table": "tests/unit/test_tables.py",
}


@pytest.mark.parametrize("command", commands())
def test_every_command_is_known_and_parsed(command: str) -> None:
    assert any(command.startswith(known) for known in ELSEWHERE), f"no test runs {command!r}"
    words = shlex.split(command)
    if words[0] == "casnkit" and len(words) > 1 and not words[1].startswith("-"):
        cli.parser(words[1]).parse_args(words[1:])  # exits with status 2 where an option does not exist


def test_own_data_in_three_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's three lines as they stand, on an imitated benchmark; only the profile is made small."""
    monkeypatch.chdir(tmp_path)
    root = imitate("market1501", tmp_path / "market")
    start = TEXT.index("casnkit data check PATH\n")
    for line in TEXT[start : TEXT.index("```", start)].strip().splitlines():
        words = shlex.split(line.replace("PATH", str(root)).replace("--profile paper", "--profile smoke --epochs 1"))
        status = cli.main(words[1:])
        assert status == 0 or words[1:3] == ["data", "check"], line  # the imitation has fewer images than the benchmark
    assert (tmp_path / "runs" / "market" / "results.json").is_file()


def test_renewal_names_only_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["renew", "--list"]) == 0
    assert "all notebooks" in capsys.readouterr().out
    for words in filter(None, renew.STEPS.values()):
        cli.parser(words[0]).parse_args(words)


def test_renewal_wants_the_projects_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["renew", "--steps", "notebooks"]) == 2


def test_times_of_notebooks(tmp_path: Path) -> None:
    import nbformat

    (tmp_path / "figures").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text("a\n<!-- notebooks -->\n<!-- /notebooks -->\n")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import os; assert os.environ['CASNKIT_PROFILE'] == 'smoke'")]
    )
    path = tmp_path / "notebooks" / "00_start_here.ipynb"
    nbformat.write(book, path)
    assert renew.run_notebooks(path.parent, "smoke", lambda text: None) == 0
    assert re.search(r"^\| \[00 Start here\].*\| \d+ s \|$", (tmp_path / "README.md").read_text(), re.MULTILINE)
    book.cells[0].source = "1 / 0"
    nbformat.write(book, path)
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        renew.run_notebook(path)
