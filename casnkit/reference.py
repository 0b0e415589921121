"""The reference: what a notebook or a script calls, with signature and docstring, as one Markdown page.

``python -m casnkit.reference`` writes ``docs/reference.md``; a test holds the page current. The rooms that a visitor enters
stand there in full, all other modules with the first line of their docstring. What is public: the names in ``__all__`` of
a package or module, else the functions and classes that a module defines without a leading underscore. The page comes from
the code alone, so it is the same on every machine and Python version.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import casnkit
from casnkit.data.files import write_text

PAGE = Path("docs/reference.md")
# In the order in which one meets them; of whatever else there is, one line each.
ROOMS = ("data", "data.people", "config", "models", "attention", "losses", "training", "evaluation", "ranking")
ROOMS += (
    "explain",
    "claims",
    "ablation",
    "tables",
    "figures",
    "inspector",
    "notebook",
    "exercises",
    "report",
    "runs",
    "shipped",
)
_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Note", "Notes")
_COMMAND = "python -m casnkit.reference"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description="Write the reference of all public names.")
    parser.add_argument("--out", type=Path, default=PAGE)
    out = parser.parse_args(arguments).out
    write_text(out, page())
    print(f"reference: {out}")


def page() -> str:
    """The whole page as Markdown."""
    names = module_names()
    rooms = [name for name in ROOMS if name in names]
    lines = ["# Reference", "", f"Made from the docstrings by `{_COMMAND}`; do not edit.", ""]
    lines += [f"- [`casnkit.{name}`](#casnkit{name.replace('.', '')}): {_summary(_load(name))}" for name in rooms]
    for name in rooms:
        lines += ["", *_room(name, public_names(name))]
    lines += ["", "## Behind the doors", "", "Modules that the rooms above are made of, and the commands.", ""]
    lines += [f"- `casnkit.{name}`: {_summary(_load(name))}" for name in names if name not in rooms]
    return "\n".join(lines).rstrip() + "\n"


def module_names() -> list[str]:
    """Dotted names of all public modules and packages below ``casnkit``, sorted."""
    found = [m.name.removeprefix("casnkit.") for m in pkgutil.walk_packages(casnkit.__path__, "casnkit.")]
    return sorted(n for n in found if not any(part.startswith("_") for part in n.split(".")))


def public_names(name: str) -> dict[str, Any]:
    """Public functions and classes of a module or package, by name, in the order of ``__all__`` or of the source."""
    module = _load(name)
    listed = getattr(module, "__all__", None)
    if listed is None:
        listed = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    members = {n: getattr(module, n) for n in listed if not n.startswith("_")}
    return {n: v for n, v in members.items() if inspect.isfunction(v) or inspect.isclass(v)}


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"casnkit.{name}")


def _summary(thing: Any) -> str:
    return _plain((inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " "))


def _room(name: str, members: dict[str, Any]) -> list[str]:
    module = _load(name)
    source = Path(module.__file__ or "").relative_to(Path(casnkit.__file__).parents[1]).as_posix()
    lines = [f"## `casnkit.{name}`", "", *_docstring(inspect.getdoc(module) or ""), "", f"[Source](../{source})"]
    for member, value in members.items():
        lines += ["", *(_class(member, value) if inspect.isclass(value) else _function(member, value))]
    return lines


def _function(name: str, function: Any) -> list[str]:
    return [f"### `{name}`", "", *_fenced(signature(name, function)), "", *_docstring(inspect.getdoc(function) or "")]


def _class(name: str, kind: type) -> list[str]:
    fields = _field_lines(kind)
    is_error = issubclass(kind, Exception)
    head = fields if fields else [] if is_error else _fenced(signature(name, kind))
    lines = [f"### `{name}`", "", *head, "", *_docstring(inspect.getdoc(kind) or "")]
    methods = [
        f"- `{_short_signature(n, member)}`: {_summary(_inner(member))}"
        for n, member in vars(kind).items()
        if not n.startswith("_") and (inspect.isfunction(_inner(member)) or isinstance(member, property))
    ]
    return [*lines, "", "**Methods and properties**", "", *methods] if methods else lines


def _inner(member: Any) -> Any:
    return member.__func__ if isinstance(member, (classmethod, staticmethod)) else member


def _short_signature(name: str, member: Any) -> str:
    if isinstance(member, property):
        return name
    function = _inner(member)
    names = [
        {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "") + parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("self", "cls")
    ]
    return f"{name}({', '.join(names)})"


class _Text:
    """An annotation that prints as it stands in the source."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(name: str, function: Any) -> str:
    """``name(parameters) -> result`` as in the source; one parameter a line where it would not fit on one."""
    found = inspect.signature(function)
    parameters = [_readable(p) for p in found.parameters.values() if p.name != "self"]
    result = "" if found.return_annotation in (found.empty, "None", None) else f" -> {found.return_annotation}"
    text = name + str(found.replace(parameters=parameters, return_annotation=found.empty)) + result
    if len(text) <= 100:
        return text
    star = any(p.kind is p.KEYWORD_ONLY for p in parameters) and not any(p.kind is p.VAR_POSITIONAL for p in parameters)
    lines = []
    for p in parameters:
        if star and p.kind is p.KEYWORD_ONLY:
            lines, star = [*lines, "    *,"], False
        lines.append(f"    {p},")
    return "\n".join([f"{name}(", *lines, f"){result}"])


def _readable(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter with its annotation as in the source, and a function as default by its name, not its address."""
    if callable(parameter.default) and parameter.default is not parameter.empty:
        parameter = parameter.replace(default=_Text(getattr(parameter.default, "__name__", "...").strip("<>")))
    if parameter.annotation is parameter.empty:
        return parameter
    return parameter.replace(annotation=_Text(str(parameter.annotation)))


def _field_lines(kind: type) -> list[str]:
    """A dataclass's fields as they stand in the source, with the comments on their lines."""
    if not dataclasses.is_dataclass(kind):
        return []
    own = inspect.getsource(kind).splitlines()
    names = "|".join(field.name for field in dataclasses.fields(kind))
    return _fenced("\n".join(line.strip() for line in own if re.match(rf"    ({names}): ", line)))


def _fenced(text: str) -> list[str]:
    return ["```python", *text.splitlines(), "```"]


def _docstring(text: str) -> list[str]:
    """A Google-style docstring as Markdown: sections become lists, the rest stays as it is written."""
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        heading = line.removesuffix(":")
        if line.endswith(":") and heading in _SECTIONS:
            section = heading
            lines += [f"**{section}**", ""]
        elif section and line and not line.startswith(" "):
            section = ""
            lines.append(_plain(line))
        elif section and line.strip():
            lines += _item(line)
        else:
            lines.append(line if line.startswith("    ") else _plain(line))
    return list(_without_double_gaps(lines))


def _item(line: str) -> list[str]:
    """One line of a section: ``name: text`` begins an item, deeper lines go on with it."""
    text = line.strip()
    if line.startswith("        "):
        return [f"  {_plain(text)}"]
    name, colon, rest = text.partition(": ")
    return [f"- `{name}`: {_plain(rest)}" if colon and len(name) < 60 and "`" not in name else f"- {_plain(text)}"]


def _plain(text: str) -> str:
    """Markdown's single backquotes for literals and references."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _without_double_gaps(lines: list[str]) -> Iterator[str]:
    last = ""
    for line in lines:
        if line or last:
            yield line
        last = line


if __name__ == "__main__":
    main()
