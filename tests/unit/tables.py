# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents repeat of the code, made of the code: settings, the audit's violations, the diagram.

`python -m tests.unit.tables` writes it anew.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from streamvaultd.config import keys
from streamvaultd.config.keys import Setting
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
    return _setting_table((*keys.GENERAL, *keys.POOLS.values()), "``{}``")


def streamer_table() -> str:
    """As streamvaultd.streamer(5) has them."""
    return _setting_table(keys.OWN, "{}")


def _setting_table(settings: tuple[Setting, ...], default: str) -> str:
    lines: list[str] = []
    for section in dict.fromkeys(setting.section for setting in settings):
        lines += [f"[{section}]", "-" * (len(section) + 2), ""]
        for setting in (each for each in settings if each.section == section):
            text = setting.default_text
            told = [setting.kind.allowed, f"default: {default.format(text)}" if text else ""]
            brackets = "; ".join(filter(None, told))
            lines += [f"``{setting.key}``" + (f" ({brackets})" if brackets else ""), f"    {setting.about}", ""]
    return "\n".join(lines).strip()


EXAMPLE_HEAD = """\
# Settings of streamvaultd, all with their defaults. See streamvaultd.toml(5).
#
# Copy this to /etc/streamvaultd/streamvaultd.toml, or single sections to /etc/streamvaultd/conf.d/NAME.toml, and
# remove the '#' of what you change. "streamvaultd --check-config" (in /usr/libexec/streamvaultd/) shows all mistakes
# at once; "systemctl reload streamvaultd" applies the settings to what starts next.
"""
EXAMPLE_POOL = """
# Pools of proxies, which streamers' files name. Those with a password are lines of a credential.
# [proxies.eu]
# urls = ["http://proxy1.example:3128", "socks5h://proxy2.example:1080"]
# secrets = ["eu-proxies"]
"""


def example() -> str:
    """The file with every setting."""
    lines = []
    for section in dict.fromkeys(setting.section for setting in keys.GENERAL):
        lines += ["", f"[{section}]"]
        for setting in (each for each in keys.GENERAL if each.section == section):
            about = textwrap.fill(setting.about, 120, initial_indent="# ", subsequent_indent="# ")
            lines += [about, f"#{setting.key} = {json.dumps(setting.default)}  # {setting.kind.allowed}", ""]
        lines.pop()
    return EXAMPLE_HEAD + "\n".join(lines) + "\n" + EXAMPLE_POOL


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


DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "streamvaultd.toml"
PARTS = {
    DOCS / "man" / "streamvaultd.toml.5.rst": (".. options:begin\n\n", settings_table, "\n\n.. options:end"),
    DOCS / "man" / "streamvaultd.streamer.5.rst": (".. options:begin\n\n", streamer_table, "\n\n.. options:end"),
    DOCS / "design" / "002-state-machine.md": (
        "<!-- diagram:begin -->\n```mermaid\n",
        diagram,
        "\n```\n<!-- diagram:end",
    ),
}
"""File -> the mark before, what stands there, the mark behind."""


def between(text: str, begin: str, end: str) -> str:
    """What stands between two marks."""
    return text.split(begin, 1)[1].split(end, 1)[0].strip()


def write() -> None:
    """Make the documents repeat what the code says now."""
    for page, (begin, made, end) in PARTS.items():
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(begin + between(text, begin, end) + end, begin + made() + end), encoding="utf-8")
    EXAMPLE.write_text(example(), encoding="utf-8")


if __name__ == "__main__":
    write()
