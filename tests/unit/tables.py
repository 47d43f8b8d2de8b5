# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents repeat of the code, made of the code: option tables, the audit's violations, the diagram."""

from __future__ import annotations

from streamvaultd.config import proxies as pools
from streamvaultd.config import settings as config
from streamvaultd.config import streamers
from streamvaultd.config.values import Option
from streamvaultd.core.model import State
from streamvaultd.core.recording import machine
from streamvaultd.core.upkeep.violations import ABOUT
from streamvaultd.reporting import notices
from streamvaultd.reporting.entry import Entry

NOTICES = (
    *(value for value in vars(notices).values() if isinstance(value, Entry)),
    *notices.REMARKS.values(),
    *notices.TARGETS.values(),
)
"""Those of the daemon itself."""


def settings_table() -> str:
    """As streamvaultd.toml(5) has them."""
    return _option_table((*config.OPTIONS, *pools.OPTIONS), "``{}``")


def streamer_table() -> str:
    """As streamvaultd.streamer(5) has them."""
    return _option_table(streamers.KEYS, "{}")


def _option_table(options: tuple[Option, ...], default: str) -> str:
    lines: list[str] = []
    for section in dict.fromkeys(option.section for option in options):
        lines += [f"[{section}]", "-" * (len(section) + 2), ""]
        for option in (each for each in options if each.section == section):
            told = f" (default: {default.format(option.default)})" if option.default else ""
            lines += [f"``{option.key}``{told}", f"    {option.about}", ""]
    return "\n".join(lines).strip()


def violation_table() -> str:
    """As streamvaultctl(1) has them."""
    lines: list[str] = []
    for kind, about in ABOUT.items():
        done = f"Cleanup: {about.repair}." if about.repair else f"Not repaired: {about.advice}."
        what = f"{about.what[0].upper()}{about.what[1:]}."
        lines += [f"{kind.value} ({about.rule})", f"    {what} {about.why} {done}", ""]
    return "\n".join(lines).strip()


def diagram() -> str:
    """The transitions in Mermaid; pairs that stay in their state are left out."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for rule in machine.RULES:
        for state in State:
            for target in State:
                if state in rule.states and target in rule.targets and target is not state:
                    arrows.setdefault((state, target), []).append(rule.event.__name__)
    lines = ["stateDiagram-v2", "    [*] --> starting"]
    lines += [f"    {a} --> {b}: {', '.join(names)}" for (a, b), names in arrows.items()]
    lines += [f"    {state} --> [*]" for state in State if state.is_final]
    return "\n".join(lines)
