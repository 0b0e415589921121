"""How large the house is, and whether its arrows point down: ``python figures/make/house.py``.

Lines and modules, the longest of both, functions over 40 lines, circles among imports (those inside functions count),
entries at the root of the package, lines of the tests, size of what git tracks.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
from pathlib import Path

import networkx

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "casnkit"
CORE = ("attention", "config", "models", "losses", "training", "runs")
LONG = 40  # lines of a function


def modules(package: Path = PACKAGE) -> dict[str, Path]:
    """Path of every module by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Modules of the package that one imports, anywhere in its text."""
    parents = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            inner = {f"{source}.{alias.name}" for alias in node.names}
            found |= (inner & known) or {source}
    return (found & known) - {name}


def graph(package: Path = PACKAGE) -> networkx.DiGraph:
    """An arrow from each module to those that it imports."""
    found = modules(package)
    known = set(found)
    edges = {name: imports(name, path, known) for name, path in found.items()}
    return networkx.DiGraph(edges)


def circles(arrows: networkx.DiGraph) -> list[list[str]]:
    """Groups of modules that import each other, directly or in a round."""
    return [sorted(group) for group in networkx.strongly_connected_components(arrows) if len(group) > 1]


def lines(paths: list[Path]) -> int:
    """Lines of all files together."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def long_functions(path: Path) -> list[tuple[str, int]]:
    """Functions of more than :data:`LONG` lines, their docstrings counted."""
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    ]
    return [(node.name, length) for node in nodes if (length := node.end_lineno - node.lineno + 1) > LONG]


def library(package: Path = PACKAGE) -> dict[str, Path]:
    """The modules that count: all but the inspector's."""
    return {name: path for name, path in modules(package).items() if ".inspector" not in name}


def root_entries(package: Path = PACKAGE) -> list[str]:
    """Files and folders at the root of the package."""
    return sorted(path.name for path in package.iterdir() if not path.name.startswith(("__pycache__", ".")))


def tracked_bytes() -> int:
    """Size of all files that git tracks."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / name.decode() for name in names if name]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    """Print all of it."""
    counted = library()
    sizes = {name: lines([path]) for name, path in counted.items()}
    longest = max(sizes, key=sizes.get)
    core = lines([PACKAGE / f"{name}.py" for name in CORE])
    print(f"library without inspector/: {sum(sizes.values())} lines in {len(sizes)} modules; core {core}")
    print(f"median module {statistics.median(sizes.values()):.0f} lines, longest {longest} with {sizes[longest]}")
    for name, path in counted.items():
        for function, length in long_functions(path):
            print(f"  over {LONG} lines: {name}.{function} {length}")
    inspector = [path for name, path in modules().items() if name not in counted]
    print(f"inspector: {lines(inspector)} lines in {len(inspector)} modules")
    print(f"root: {len(root_entries())} entries: {' '.join(root_entries())}")
    print(f"circles: {circles(graph()) or 'none'}")
    print(f"tests: {lines(list((ROOT / 'tests').rglob('*.py')))} lines")
    print(f"tracked: {tracked_bytes() / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
