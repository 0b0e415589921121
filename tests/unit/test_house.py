"""The house as a whole: no circle of imports, everything public documented and annotated, no module too long."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import casnkit

PACKAGE = Path(casnkit.__file__).parent
MODULES = {
    ".".join(("casnkit", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
    for p in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
LONGEST = 300  # lines


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Import statements that run when the module is loaded: not those inside functions or under TYPE_CHECKING."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def imported(name: str) -> set[str]:
    """Modules of the package that ``name`` imports when it is loaded; a package itself is meant by its __init__."""
    is_package = MODULES[name].name == "__init__.py"
    found = set()
    for node in at_import(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        parts = name.split(".") if is_package else name.split(".")[:-1]
        base = parts[: len(parts) - node.level + 1] if node.level else []
        source = ".".join([*base, *(node.module.split(".") if node.module else [])])
        inner = {f"{source}.{alias.name}" for alias in node.names} & set(MODULES)
        found |= inner if len(inner) == len(node.names) else inner | {source}
    return (found & set(MODULES)) - {name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or in a round (strongly connected, Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_circle_of_imports() -> None:
    graph = {name: imported(name) for name in MODULES}
    assert sum(map(len, graph.values())) > 100, "the graph is empty: imports are not found"
    assert circles(graph) == []


@pytest.mark.parametrize("name", MODULES)
def test_module_is_no_longer_than_a_few_screens(name: str) -> None:
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name} has {lines} lines: split it by concern"


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
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    arguments = arguments[1:] if is_method and not static else arguments
    missing = [f"{a.arg} is not annotated" for a in arguments if a is not None and a.annotation is None]
    return missing + ([] if node.returns is not None else ["the result is not annotated"])


@pytest.mark.parametrize("name", MODULES)
def test_private_functions_are_annotated_too(name: str) -> None:
    problems = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ClassDef):
            members = {child for child in node.body if isinstance(child, ast.FunctionDef)}
            problems += [f"{node.name}.{m.name}: {t}" for m in members for t in unannotated(m, True)]
    tops = [node for node in TREES[name].body if isinstance(node, ast.FunctionDef)]
    problems += [f"{node.name}: {text}" for node in tops for text in unannotated(node, False)]
    assert not problems, "\n".join(problems)
