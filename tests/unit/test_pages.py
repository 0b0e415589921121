"""The front page: its numbers are those that commands wrote, its links lead somewhere, and its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import lessons
import nbformat
import pages
import pytest
import site_of_course as site
import slides
from imitations import imitate
from nbformat.v4 import new_code_cell, new_notebook

from casnkit import __main__ as command_line

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command line in the page: in code blocks line by line, and between backquotes."""
    blocks = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    inline = [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]
    parts = [part.strip() for line in lines + inline for part in line.split("&&")]
    return sorted({part for part in parts if part.startswith(("casnkit ", "python ", "accelerate "))})


@pytest.mark.parametrize("page", pages.PAGES)
def test_numbers_are_those_that_commands_wrote(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    names = re.findall(r"<!-- ([^/].*?) -->", text)
    assert names, "the page shows no result"
    for name in names:
        assert pages.with_block(text, name, pages.BLOCKS[name]()) == text, f"{name!r} is not what its table says"


def test_a_former_number_goes(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    old = "a\n<!-- speed in short -->\nformer number\n<!-- /speed in short -->\nb\n"
    for page in pages.PAGES:
        (tmp_path / page).write_text(old)
    assert pages.renew(tmp_path) == [tmp_path / page for page in pages.PAGES]
    assert "former number" not in (tmp_path / "README.md").read_text()
    assert pages.renew(tmp_path) == []
    (tmp_path / "README.md").write_text("<!-- league -->\n")
    with pytest.raises(ValueError, match="found not both"):
        pages.renew(tmp_path)


def test_every_notebook_is_a_lesson() -> None:
    assert lessons.LESSONS["name"].tolist() == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_a_sentence_follows_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pages.comparisons()
    for p, says in ((0.2, "people as is: none differs"), (0.01, "people as is: CASN (IDE) +")):
        monkeypatch.setattr(pages, "comparisons", lambda p=p: table.assign(p_holm=p))
        assert says in " ".join(pages.found())


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


@pytest.mark.parametrize("command", commands())
def test_every_command_is_known_and_parsed(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[:2] == ["accelerate", "launch"]:
        command_line.parser(words[4]).parse_args(words[4:])
    elif not words[1].startswith("-"):
        command_line.parser(words[1]).parse_args(words[1:])  # exits with status 2 where an option does not exist


def test_own_data_in_three_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's three lines as they stand, on an imitated benchmark; only the profile is made small."""
    monkeypatch.chdir(tmp_path)
    root = imitate("market1501", tmp_path / "market")
    start = TEXT.index("casnkit data check PATH\n")
    for line in TEXT[start : TEXT.index("```", start)].strip().splitlines():
        words = shlex.split(line.replace("PATH", str(root)).replace("--profile paper", "--profile smoke --epochs 1"))
        status = command_line.main(words[1:])
        assert status == 0 or words[1:3] == ["data", "check"], line  # the imitation has fewer images than the benchmark
    assert (tmp_path / "runs" / "market" / "results.json").is_file()


def test_every_step_of_the_renewal_is_there() -> None:
    listed = subprocess.run([sys.executable, "figures/make/all.py", "--list"], cwd=ROOT, capture_output=True, text=True)
    steps = re.findall(r"^\[(.+)\] python (.+)$", listed.stdout, re.MULTILINE)
    assert len(steps) >= 10
    for _, step in steps:
        words = step.split()
        if words[0] == "-m":
            command_line.parser(words[2]).parse_args(words[2:])
        else:
            assert (ROOT / words[0]).is_file()


def test_the_lecture_is_one_file() -> None:
    text = slides.TEXT.read_text(encoding="utf-8")
    page = slides.lecture(text, slides.TEXT.parent)
    assert page.count("<section>") == page.count("<aside>") == text.count("\n???\n") >= 20
    assert page.count("<img") == text.count("![")
    assert set(re.findall(r'src="(data:image/\w+|[^"]*)', page)) <= {"data:image/png", "data:image/webp"}
    assert set(re.findall(r"<math|\$\$", page)) == {"<math"}
    with pytest.raises(FileNotFoundError, match="gone"):
        slides.lecture("# One\n\n![A picture](gone.png)\n\n???\nWords.\n", slides.TEXT.parent)


def test_the_site_has_every_lesson_no_dead_link_and_no_other_host(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "sphinx", *site.BUILD, tmp_path], cwd=ROOT, check=True, capture_output=True)
    shown = [(tmp_path / "notebooks" / name / "index.html").read_text("utf-8") for name in lessons.LESSONS["name"]]
    assert min(page.count("<img") for page in shown) > 1
    assert re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="https?:[^>]*', "".join(shown)) == []
    assert [shown[4].count("<math") > 50, shown[12].count("<table") > 9] == [True, True]


def test_lessons_run_at_a_profile_and_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "00_a.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("import os; os.environ['CASNKIT_PROFILE']")]), path)
    before = path.read_bytes()
    book = lessons.execute(path, "smoke")
    assert book.cells[0].outputs[0].data["text/plain"] == "'smoke'"
    assert path.read_bytes() == before
