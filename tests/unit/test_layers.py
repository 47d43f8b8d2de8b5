# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, and how large things may grow. docs/ARCHITECTURE.md says why."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamvaultd
from tests.unit.trees import tree

PACKAGE = Path(streamvaultd.__file__).parent
TESTS = Path(__file__).parents[1]

LIMITS = {PACKAGE: (400, 50), TESTS: (500, 60)}
"""Lines of a module, and of a function."""

LONGER = {"errors.py"}
"""One list, which is read as a whole."""

CORE_STDLIB = {"__future__", "collections.abc", "dataclasses", "enum", "re", "typing"}

GROUND = {"__version__", "core", "errors", "base"}

LAW: dict[str, set[str]] = {
    "core": set(),
    "errors": set(),
    "media": set(),
    "base": {"core", "errors"},
    "varlink": {"errors"},
    "config": GROUND,
    "store": GROUND | {"config"},
    "scopes": GROUND | {"varlink"},
    "reporting": GROUND | {"varlink", "scopes"},
    "jobs": GROUND | {"media", "scopes", "reporting"},
    "recording": GROUND | {"config", "scopes", "reporting", "jobs"},
    "watching": GROUND | {"config", "scopes", "reporting", "recording"},
    "upkeep": GROUND | {"config", "scopes", "reporting", "jobs", "recording"},
    "api": GROUND | {"config", "varlink", "reporting", "jobs", "recording", "watching", "upkeep"},
    "brokerd": {"__version__", "errors", "base", "core", "varlink"},
    "ctl": {"__version__", "errors", "base", "varlink", "media", "config", "store", "core", "scopes", "jobs"},
}
"""Room: those of ours that it may import besides itself. daemon/, which builds everything, is free."""

NARROW = {
    "ctl": {
        "varlink": {"varlink.client"},
        "media": {"media.inspect", "media.event_playlist"},
        "store": {"store.transfer"},
        "core": {"core.cause"},
        "scopes": {"scopes.confine"},
        "jobs": {"jobs.chatlog.export"},
    },
    "brokerd": {"core": {"core.names"}},
}
"""These see few modules of a room."""


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module
            if node.module == "streamvaultd":
                yield from (f"streamvaultd.{alias.name}" for alias in node.names)
            else:
                yield node.module


def ours(path: Path) -> set[str]:
    """What a file imports of ours, without the package's name."""
    return {name.removeprefix("streamvaultd.") for name in imports(path) if name.startswith("streamvaultd.")}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path: Path) -> None:
    part = part_of(path)
    if part in ("__init__", "daemon"):
        return
    assert part in LAW, f"{part} has no place in the law yet"
    for name in ours(path):
        top = name.split(".")[0]
        assert top in LAW[part] | {part}, f"{part} may not import {name}"
        assert name in NARROW.get(part, {}).get(top, {name}), f"{part} may not import {name}"


def test_the_core_uses_next_to_nothing() -> None:
    for path in modules(PACKAGE / "core"):
        foreign = {name for name in imports(path) if not name.startswith("streamvaultd.")}
        assert foreign <= CORE_STDLIB, f"{path.name} imports {foreign - CORE_STDLIB}"


@pytest.mark.parametrize(
    "name",
    [
        "scopes/shim.py",
        "scopes/confine.py",
        "reporting/notify_process.py",
        *(f"watching/probe/{name}.py" for name in ("probe", "probed", "helix", "eventsub", "reach")),
    ],
)
def test_programs_that_run_alone_import_nothing_of_ours(name: str) -> None:
    foreign = {module.split(".")[0] for module in imports(PACKAGE / name)}
    if name == "scopes/shim.py":
        foreign -= {"confine"}  # the file beside it, in its child
    assert foreign <= sys.stdlib_module_names | {"streamlink", "streamlink_cli", "requests", "websocket", "apprise"}
    assert name != "scopes/shim.py" or foreign <= sys.stdlib_module_names


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["streamvaultd", "tests"])
def test_sizes(folder: Path) -> None:
    lines_max, function_lines_max = LIMITS[folder]
    too_large = []
    for path in modules(folder):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > lines_max and str(path.relative_to(folder)) not in LONGER:
            too_large.append(f"{path.relative_to(folder)}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > function_lines_max:
                    too_large.append(f"{path.relative_to(folder)}: {node.name}: {length} lines")
    assert too_large == []


PARAMETERS_MAX = 8

CALLABLES_MAX = 26
ENTRIES_MAX = 18


def constructors() -> Iterator[tuple[str, list[ast.arg]]]:
    """Every class with an __init__, and its parameters."""
    for path in modules(PACKAGE):
        for node in ast.walk(tree(path)):
            for made in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(made, ast.FunctionDef) and made.name == "__init__" and isinstance(node, ast.ClassDef):
                    yield node.name, [*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs][1:]


def test_constructors_ask_for_little() -> None:
    wide = {name: len(given) for name, given in constructors() if len(given) > PARAMETERS_MAX}
    assert wide == {}


def test_parts_are_given_objects_rather_than_functions() -> None:
    """These figures may fall, and not rise: what has a method says more than a function that was handed down."""
    functions = [
        f"{name}: {each.arg}"
        for name, given in constructors()
        for each in given
        if each.annotation is not None and "Callable" in ast.unparse(each.annotation)
    ]
    assert len(functions) <= CALLABLES_MAX, functions


def test_the_root_gives_each_part_what_it_needs_when_it_is_made() -> None:
    """No lambda, and nothing is set in another object; tests/component/test_assembly.py looks at the parts."""
    found = [
        f"{path.name}:{node.lineno}"
        for path in modules(PACKAGE / "daemon")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Lambda) or (isinstance(node, ast.Attribute) and _is_set_from_outside(node))
    ]
    assert found == []


def _is_set_from_outside(node: ast.Attribute) -> bool:
    is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
    return isinstance(node.ctx, ast.Store) and not is_own


@pytest.mark.parametrize("text", ["a.b = 1", "self.a.b = 1", "a.b, c = d", "for a.b in c: pass"])
def test_what_is_set_from_outside_is_seen(text: str) -> None:
    assert any(isinstance(node, ast.Attribute) and _is_set_from_outside(node) for node in ast.walk(ast.parse(text)))


def test_few_entries_at_the_root() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= ENTRIES_MAX


def test_no_import_goes_round_in_a_circle() -> None:
    """Of those at the top of modules."""
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in modules(PACKAGE)}
    left = {
        name: {
            other
            for node in tree(path).body
            if isinstance(node, ast.ImportFrom) and node.module
            if (other := node.module.removeprefix("streamvaultd.")) in names and other != node.module
        }
        for name, path in names.items()
    }
    while free := {name for name, needs in left.items() if not needs}:
        left = {name: needs - free for name, needs in left.items() if name not in free}
    assert left == {}
