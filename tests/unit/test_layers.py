# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, and how large things may grow. docs/ARCHITECTURE.md says why."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamvaultd

PACKAGE = Path(streamvaultd.__file__).parent
TESTS = Path(__file__).parents[1]

LINES_MAX = 500
FUNCTION_LINES_MAX = 60

CORE_STDLIB = {"__future__", "collections.abc", "dataclasses", "enum", "re", "typing"}

LIBRARIES = {
    "__version__", "core", "errors", "units", "clock", "config", "varlink", "systemd1", "children", "disks", "values",
    "names", "durable", "layout", "threads",
}  # fmt: skip
"""Anybody outside the core may use these: types, names, formats and protocols."""

WORDS = LIBRARIES | {"ports", "notices"}
"""What the parts that decide and act know: also what they need of the world, and what there is to say."""

LAW: dict[str, set[str]] = {
    "core": set(),
    # libraries
    "errors": set(),
    "units": set(),
    "children": set(),
    "disks": {"threads"},
    "threads": set(),
    "durable": set(),
    "layout": set(),
    "clock": {"core"},
    "values": {"units"},
    "names": {"errors"},
    "pools": {"core", "names", "values"},
    "topics": {"core", "names", "values"},
    "config": {"core", "errors", "units", "values", "pools", "topics"},
    "varlink": {"errors"},
    "systemd1": {"errors"},
    "media": set(),
    # adapters: the world, each for itself
    "capture": LIBRARIES,
    "witnesses": LIBRARIES,
    "watch": LIBRARIES | {"shim"},  # the probe hides the same secrets as the shim
    "tell": LIBRARIES | {"shim"},
    "store": LIBRARIES,
    "notices": LIBRARIES,
    "notify": LIBRARIES,
    "scopes": LIBRARIES,
    "streamlinks": LIBRARIES | {"capture", "watch"},  # which streamlink those two run
    "streamers": LIBRARIES | {"capture", "pools", "topics"},
    "streamer_files": {"durable"},
    "credentials": {"errors", "values"},
    # what decides and acts; it sees adapters through ports
    "ports": {"core"},
    "hub": WORDS,
    "manager": WORDS,
    "runs": WORDS,
    "diskguard": WORDS,
    "captures": WORDS | {"runs"},
    "joinprogress": WORDS,
    "joins": WORDS | {"runs", "joinprogress"},
    "removal": WORDS,
    "pruning": WORDS | {"manager", "removal"},
    "retention": WORDS | {"pruning"},
    "executor": WORDS | {"captures", "joins", "hub", "removal"},
    "takeover": WORDS | {"runs", "manager"},
    "repairs": WORDS | {"runs", "joins", "manager"},
    "audits": WORDS | {"runs", "joins", "manager", "repairs"},
    "views": WORDS | {"hub", "joinprogress"},
    "patience": set(),
    "watches": WORDS | {"patience"},
    "telling": WORDS,
    "api_telling": WORDS | {"telling"},
    "beginner": WORDS | {"manager"},
    "roster": WORDS | {"pools", "streamers", "watches"},
    "api_streamers": WORDS | {"roster", "views", "watches"},
    "manifest": LIBRARIES | {"views"},
    "manifests": WORDS | {"manifest"},
    "figures": {"core"},
    "metrics": LIBRARIES | {"figures"},
    "meter": WORDS | {"figures"},
    "rescan": WORDS | {"manager", "manifest"},
    "api_rescan": WORDS | {"rescan", "views"},
    "ends": WORDS | {"views"},
    "api": WORDS | {"beginner", "hub", "joinprogress", "views", "ends", "manager", "streamlinks", "capture"},
    "api_audit": WORDS | {"audits", "repairs", "views"},
    "api_result": WORDS | {"views"},
    "api_look": WORDS | {"hub", "views"},
    "api_subscribe": WORDS | {"hub", "views", "api_look", "api_result"},
    "api_prune": WORDS | {"pruning", "retention", "views"},
    "api_admin": WORDS | {"views"},
    "sockets": WORDS
    | {
        "hub",
        "manager",
        "pruning",
        "retention",
        "audits",
        "api",
        "api_audit",
        "api_result",
        "api_look",
        "api_subscribe",
        "api_prune",
        "api_admin",
    },
    # other programs
    "brokerd": {"__version__", "errors", "units", "systemd1", "varlink"},
    "jobs": {"errors", "units", "media"},
    "ctl": {"__version__", "errors", "units", "varlink", "media", "config", "store"},
    "shim": set(),
}
"""Top-level module: those of ours that it may import besides itself. daemon*.py, which build everything, are free."""

ADAPTERS = {"capture", "witnesses", "watch", "tell", "store", "scopes", "notify", "streamlinks", "metrics"}
NARROW = {  # these see one module of a library
    "ctl": {"varlink": "varlink.client", "media": "media.inspect", "store": "store.transfer"},
    "api": {"capture": "capture.streamlink"},
    "streamers": {"capture": "capture.streamlink"},
}


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
    if part in ("__init__", "daemon", "daemon_watching", "daemon_ledger", "daemon_telling", "daemon_upkeep"):
        return
    assert part in LAW, f"{part} has no place in the law yet"
    for name in ours(path):
        top = name.split(".")[0]
        assert top in LAW[part] | {part}, f"{part} may not import {name}"
        assert name == NARROW.get(part, {}).get(top, name), f"{part} may not import {name}"


def test_the_core_uses_next_to_nothing() -> None:
    for path in modules(PACKAGE / "core"):
        foreign = {name for name in imports(path) if not name.startswith("streamvaultd.")}
        assert foreign <= CORE_STDLIB, f"{path.name} imports {foreign - CORE_STDLIB}"


@pytest.mark.parametrize(
    "name",
    ["shim.py", "watch/probe.py", "watch/probed.py", "watch/helix.py", "watch/eventsub.py", "tell/process.py"],
)
def test_programs_that_run_alone_import_nothing_of_ours(name: str) -> None:
    foreign = {module.split(".")[0] for module in imports(PACKAGE / name)}
    assert foreign <= sys.stdlib_module_names | {"streamlink", "streamlink_cli", "requests", "websocket", "apprise"}
    assert name != "shim.py" or foreign <= sys.stdlib_module_names


def test_only_the_daemon_builds_adapters() -> None:
    """Others may take types from them at most where the law says so, and never construct."""
    for part in set(LAW) - ADAPTERS - {"ctl"}:  # a program of its own: export and import need no daemon
        assert not LAW[part] & (ADAPTERS - {"capture", "streamlinks"}), part
    assert [part for part in LAW if LAW[part] & {"capture", "streamlinks"}] == ["streamlinks", "streamers", "api"]
    tree = ast.parse((PACKAGE / "api.py").read_text(encoding="utf-8"))
    called = {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "Streamlinks" not in called


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["streamvaultd", "tests"])
def test_sizes(folder: Path) -> None:
    too_large = []
    for path in modules(folder):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > LINES_MAX:
            too_large.append(f"{path.relative_to(folder)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    too_large.append(f"{path.relative_to(folder)}: {node.name}: {length} lines")
    assert too_large == []
