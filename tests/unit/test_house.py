"""The house as a whole: arrows point down, no circle, everything public documented, and not thicker than agreed."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import house
import pytest

MODULES = house.modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
FLOORS = (  # from the ground up; a module imports from its own floor's room or from below
    ("attention", "data.files"),
    ("config",),
    ("data",),
    ("models",),
    ("losses",),
    ("runs",),
    ("training",),
    ("ranking",),
    ("evaluation",),
    ("explain",),
    ("figures",),
    ("experiments",),
    ("inspector",),
    ("notebook",),
    ("__main__",),
)


def floor(name: str) -> int:
    """The floor of a module: that of the longest name that it begins with."""
    inner = name.removeprefix("casnkit.") + "."
    found = [(len(room), i) for i, rooms in enumerate(FLOORS) for room in rooms if inner.startswith(room + ".")]
    assert found, f"{name} stands on no floor: give it one in FLOORS"
    return max(found)[1]


def test_arrows_point_down_and_never_in_a_circle() -> None:
    arrows = house.graph()
    assert arrows.number_of_edges() > 100, "imports are not found"
    inside = [edge for edge in arrows.edges if "casnkit" not in edge]
    assert [f"{a} imports {b}" for a, b in inside if floor(b) > floor(a)] == []
    assert house.circles(arrows) == []


def test_circles_are_found() -> None:
    assert house.circles(house.networkx.DiGraph({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == [["a", "b", "c"]]
    assert house.circles(house.networkx.DiGraph({"a": {"b", "c"}, "b": {"c"}})) == []


def test_figures_know_no_other_room() -> None:
    known = {b for a, b in house.graph().edges if a.startswith("casnkit.figures")}
    rooms = {name for name in known if not name.startswith("casnkit.figures")}
    assert rooms <= {"casnkit.attention", "casnkit.data.files"}


def test_the_house_is_thin() -> None:
    """Ceilings: higher only for something that the kit could not do before."""
    sizes = {name: house.lines([path]) for name, path in house.library().items()}
    assert sum(sizes.values()) <= 10560
    assert house.lines([*(house.PACKAGE / "inspector").glob("*.py")]) <= 1900
    assert len(sizes) <= 55
    assert sum(sizes[f"casnkit.{name}"] for name in house.CORE) <= 1730
    assert max(sizes.values()) <= 410
    assert house.lines(list((house.ROOT / "tests").rglob("*.py"))) <= 10800
    assert len(house.root_entries()) <= 16
    assert house.tracked_bytes() <= 21 * 2**20


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST, bool]]:
    """(name, node, is a method) of public functions, classes and methods."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node, False
            for child in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
                    yield f"{node.name}.{child.name}", child, True


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_documented_and_annotated(name: str) -> None:
    problems = [] if ast.get_docstring(TREES[name]) else ["the module has no docstring"]
    for member, node, is_method in public(TREES[name]):
        if not ast.get_docstring(node) and not (is_method and inherited_docstring(name, member)):
            problems.append(f"{member} has no docstring")
        if isinstance(node, ast.FunctionDef):
            problems += [f"{member}: {text}" for text in unannotated(node, is_method)]
    assert not problems, "\n".join(problems)


def inherited_docstring(module: str, member: str) -> bool:
    """Whether a base class says what a method does, as ``nn.Module`` says of ``forward``."""
    owner, _, method = member.partition(".")
    bases = getattr(importlib.import_module(module), owner).__mro__[1:]
    return any(getattr(vars(base).get(method), "__doc__", None) for base in bases if base is not object)


def unannotated(node: ast.FunctionDef, is_method: bool) -> list[str]:
    """Arguments and results of a function without a type."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    arguments = arguments[1:] if is_method and not static else arguments
    missing = [f"{a.arg} is not annotated" for a in arguments if a is not None and a.annotation is None]
    return missing + ([] if node.returns is not None else ["the result is not annotated"])
