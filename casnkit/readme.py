"""Numbers in the README come from files that commands wrote: each stands between two markers and is renewed by its command.

``<!-- demo -->`` ... ``<!-- /demo -->`` is made of ``figures/demo.json``, ``<!-- bench train -->`` of
``figures/bench-train.json``, and so on. A test holds them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .files import write_json, write_text


def with_block(text: str, name: str, content: str) -> str:
    """``text`` with what stands between the markers of ``name`` replaced by ``content``.

    Raises:
        ValueError: the markers are not both there.
    """
    before, begin, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"expected the markers <!-- {name} --> and <!-- /{name} --> in the text, found not both")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"


def publish(root: Path, name: str, result: dict[str, Any], content: str) -> None:
    """Write ``figures/NAME.json`` and renew the README's block ``name`` below ``root``."""
    write_json(root / "figures" / f"{name.replace(' ', '-')}.json", result)
    readme = root / "README.md"
    if readme.is_file():
        write_text(readme, with_block(readme.read_text(encoding="utf-8"), name, content))


def fenced(text: str) -> str:
    """Text as a Markdown code block."""
    return f"```text\n{text.rstrip()}\n```"
