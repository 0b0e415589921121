"""What a notebook's page gets: tables in HTML beside their text, pictures with words for those who cannot see them."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from casnkit import evaluation, figures, notebook
from casnkit.figures.style import describe, new_figure, panel, write

ROWS = [
    {"name": "ide & more", "rank_1": 81.04, "Δ": "-"},
    {"name": "<casn>", "rank_1": 9.96, "Δ": "**+1.0**"},
]


class Cells(HTMLParser):
    """Text of all cells, row by row, by the standard library's own reader."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag, "tags are nested"

    def handle_data(self, data: str) -> None:
        self.rows[-1][-1] += data
        if self.tags[-1] == "b":
            self.bold.append(data)


def test_a_table_says_the_same_as_text_and_on_a_page() -> None:
    table = evaluation.table(ROWS)
    lines = [re.split(r"\s{2,}", line.strip()) for line in str(table).splitlines()]
    assert lines == [["name", "rank-1", "Δ"], ["-" * 10, "-" * 6, "-" * 8], ["ide & more", "81.0", "-"],
                     ["<casn>", "10.0", "**+1.0**"]]  # fmt: skip
    found = Cells()
    found.feed(table._repr_html_())
    assert found.tags == []
    assert found.rows == [["name", "rank-1", "Δ"], ["ide & more", "81.0", "-"], ["<casn>", "10.0", "+1.0"]]
    assert found.bold == ["+1.0"]


def test_a_table_is_shown_without_quotes_where_there_is_no_page() -> None:
    table = evaluation.table(ROWS, {"name": "network"})
    assert repr(table) == str(table) == "network\n" + "-" * 10 + "\nide & more\n<casn>"


def test_a_picture_has_its_words_as_alternative_text() -> None:
    figure = figures.show_cmc({"a <network>": [0.5, 0.75, 1.0]}, title='Who is "first"?')
    bundle, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    tag = Cells()
    tag.handle_starttag = lambda name, attrs: tag.tags.append((name, dict(attrs)))  # type: ignore[method-assign]
    tag.feed(bundle["text/html"])
    [(name, attributes)] = tag.tags
    assert name == "img"
    assert 'Who is "first"?' in attributes["alt"]
    assert "a <network>" in attributes["alt"]
    assert metadata["image/png"]["alt"] == attributes["alt"]
    assert attributes["src"] == "data:image/png;base64," + bundle["image/png"]
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert int(attributes["width"]) == round(figure.get_size_inches()[0] * 100)


def test_words_of_a_picture_are_few_and_each_said_once() -> None:
    figure = new_figure(4, 3)
    assert describe(figure) == "Diagram"
    for text in ("heading", "pid 1", "pid 1"):
        write(figure, 0, 0, text)
    panel(figure, 0, 0, 2, 2).imshow([[0.0, 1.0]])
    panel(figure, 2, 0, 2, 2).set(xlabel="distance")
    assert describe(figure) == "Figure with 1 images: heading; pid 1; distance"
    assert describe(figure, most=12) == "Figure with 1 images: heading; pi…"


def test_sentences_break_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["word" + "s" * (k % 7) for k in range(60)]
    notebook.say("short", " ".join(words), width=40)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "short"
    assert max(map(len, said)) <= 40
    assert " ".join(line.strip() for line in said[1:]).split() == words
