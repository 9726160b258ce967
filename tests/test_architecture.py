"""The order of the rooms: what is lower never imports what is higher, and nothing in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import gan3d_bench

SOURCE = Path(gan3d_bench.__file__).parent

ROOMS = (
    *(
        "__init__",
        "errors",
        "terminal",
        "progress",
        "regular_files",
        "spec",
        "spec_types",
        "config",
        "registry",
        "schedules",
    ),
    *("assets", "machine", "distributed", "files"),
    *("geometry", "rendering", "scenes", "pictures"),
    *("heads", "cars", "faces", "losses", "generators", "metrics"),
    *("adversarial", "datamodules", "methods", "tracking", "training"),
    *("benchmarks", "conformance", "report", "commands", "cli", "__main__"),
)
"""From the lowest: folders and modules of the package. A room may import itself and lower ones."""


def imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports anywhere, in functions too, by dotted names.

    What only a type checker imports counts as well: a name that is needed is known.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {inside(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                whole = inside(f"{node.module}.{alias.name}")
                found.add(whole if whole in modules else inside(node.module or ""))
    return found & modules


def inside(name: str) -> str:
    """Dotted name within the package; "" if it is of another one."""
    package, _, rest = name.partition(".")
    return (rest or "__init__") if package == "gan3d_bench" else ""


def graph() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    modules = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }
    names = set(modules)
    return {name: imports(path, names) - {name} for name, path in modules.items()}


def room(module: str) -> str:
    return module.split(".")[0]


def circles(edges: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """Strongly connected modules, more than one each (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[frozenset[str]]:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in number:
                yield from visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            start = stack.index(module)
            part = frozenset(stack[start:])
            del stack[start:]
            if len(part) > 1:
                yield part

    for module in sorted(edges):
        if module not in number:
            yield from visit(module)


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in graph()} == set(ROOMS)


def test_lower_rooms_import_no_higher_ones() -> None:
    rank = {name: place for place, name in enumerate(ROOMS)}
    upward = {
        (module, room(other))
        for module, others in graph().items()
        for other in others
        if rank[room(other)] > rank[room(module)]
    }
    assert upward == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert set(circles(graph())) == set()


def test_circles_are_found() -> None:
    edges = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert set(circles(edges)) == {frozenset("abc"), frozenset("de")}
