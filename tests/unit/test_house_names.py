# SPDX-License-Identifier: GPL-3.0-or-later
"""One name, one thing: modules and classes have names of their own, but for those that are listed with a reason."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import streamvaultd
from tests.unit.trees import tree

PACKAGE = Path(streamvaultd.__file__).parent

APART = ("ctl/", "brokerd/", "scopes/shim.py", "watching/probe/", "recording/chat/capture/")
"""Programs of their own: what is in them meets nothing of the daemon's but on a wire, whose names both ends use."""

ANSWERED = "the daemon answers what the command of this name asks, with what the room of this name does"
BOTH = "core/X decides, X/ does"
STEMS = {
    "main": "the start of each program",
    "ports": "what a room asks of the others",
    "notices": "what a program tells the journal",
    "service": "what a program does between its start and its end",
    "sockets": "varlink/ knows how to listen, api/ on what, daemon/ when",
    "model": "the records that recording/ and watching/ think in",
    "machine": "the transitions of recording/ and watching/",
    "retention": BOTH,
    "asking": BOTH,
    "proxies": "config/ reads them, core/ chooses one",
    "figures": "store/ sums what metrics show",
    "output": "the file that a segment becomes, and the file that a join makes",
    "timeline": "of a recording, as it is shown, and of media",
} | dict.fromkeys(
    (
        "admin",
        "audit",
        "lists",
        "prune",
        "record",
        "recordings",
        "records",
        "rescan",
        "status",
        "streamers",
        "transfer",
    ),
    ANSWERED,
)

CLASSES = {
    "Unit": "a PES packet: as its transport packets lie in a file, and as what they hold together",
}


def modules() -> list[tuple[str, ast.Module]]:
    paths = sorted(
        path for path in PACKAGE.rglob("*.py") if path.stem != "__init__" and "__pycache__" not in path.parts
    )
    return [(str(path.relative_to(PACKAGE)), tree(path)) for path in paths]


def is_port(node: ast.ClassDef) -> bool:
    """A protocol lives with who needs it, and has the name of what answers it."""
    return any(ast.unparse(base).startswith("Protocol") for base in node.bases)


def more_than_once(named: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in named.items() if len(places) > 1}


def test_modules_have_names_of_their_own() -> None:
    found = defaultdict(list)
    for path, _ in modules():
        found[Path(path).stem].append(path)
    shared = more_than_once(found)
    assert {name: places for name, places in shared.items() if name not in STEMS} == {}
    assert set(STEMS) == set(shared), "an exception that is none any more"


def test_classes_of_the_daemon_have_names_of_their_own() -> None:
    found = defaultdict(list)
    for path, module in modules():
        for node in module.body:
            if isinstance(node, ast.ClassDef) and not is_port(node) and not path.startswith(APART):
                found[node.name].append(path)
    shared = {name: places for name, places in more_than_once(found).items() if not name.startswith("_")}
    assert {name: places for name, places in shared.items() if name not in CLASSES} == {}
    assert set(CLASSES) == set(shared), "an exception that is none any more"
