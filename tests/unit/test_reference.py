"""The reference page is current, names what is public, and renders docstrings and signatures as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import casnkit
from casnkit import reference

ROOT = Path(__file__).parents[2]


def test_page_is_current() -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == reference.page(), "renew it: python -m casnkit.reference"


def test_page_names_all_that_the_package_shows() -> None:
    page = reference.page()
    shown = [name for name in casnkit.__all__ if name not in casnkit._MODULES]
    missing = [name for name in shown if f"### `{name}`" not in page]
    assert not missing
    for module in casnkit._MODULES:
        assert f"## `casnkit.{module}`" in page
    assert " at 0x" not in page, "an object without a readable name stands in a signature"
    assert set(re.findall(r"\(#(casnkit\w+)\)", page)) == {f"casnkit{name.replace('.', '')}" for name in _rooms()}


def _rooms() -> list[str]:
    return [name for name in reference.ROOMS if name in reference.module_names()]


def test_page_is_written_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference.main(["--out", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == reference.page()
    assert "page.md" in capsys.readouterr().out


def test_links_to_sources_lead_somewhere() -> None:
    sources = re.findall(r"\[Source\]\(\.\./([^)]+)\)", reference.page())
    assert len(sources) == len(_rooms())
    assert not [path for path in sources if not (ROOT / path).is_file()]


def example(first: int, *rest: str, threshold: float = 0.5, and_a_long_name_that_fills_the_line: str = "x") -> str:
    """One line with a ``literal`` and a reference to :func:`casnkit.open_dataset`.

    Args:
        first: what comes first,
            and goes on.
        threshold: in [0, 1].

    Raises:
        ValueError: never.
    """


def test_signature_and_docstring_become_markdown() -> None:
    lines = reference._function("example", example)
    assert lines[:4] == ["### `example`", "", "```python", "example("]
    assert "    threshold: float = 0.5," in lines
    assert "    *rest: str," in lines
    assert ") -> str" in lines
    text = "\n".join(lines)
    assert "One line with a `literal` and a reference to `casnkit.open_dataset`." in text
    assert "**Args**\n\n- `first`: what comes first,\n  and goes on.\n- `threshold`: in [0, 1]." in text
    assert "**Raises**\n\n- `ValueError`: never." in text
