# SPDX-License-Identifier: GPL-3.0-or-later
"""In which module each command is, in the order of the help: only the one that is run is imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from streamvaultd.ctl.options import Command

PROGRAM = "streamvaultctl"

PLACES = {
    "record": "control",
    "list": "lists",
    "status": "status",
    "segments": "lists",
    "seams": "lists",
    "why": "lists",
    "timeline": "timeline",
    "chat": "chat",
    "stop": "control",
    "wait": "control",
    "rotate": "control",
    "retry": "control",
    "keep": "control",
    "unkeep": "control",
    "jobs": "history",
    "events": "history",
    "monitor": "live",
    "top": "top",
    "logs": "live",
    "check": "audit",
    "cleanup": "audit",
    "rescan": "rescan",
    "export": "transfer",
    "import": "transfer",
    "prune": "prune",
    "verify": "verify",
    "play": "play",
    "streamers": "streamers",
    "add": "streamers",
    "set": "files",
    "edit": "files",
    "remove": "streamers",
    "enable": "streamers",
    "disable": "streamers",
    "probe": "streamers",
    "notify": "streamers",
    "settings": "admin",
    "reload": "admin",
    "streamlink": "admin",
    "completion": "completion",
}

GROUPS = {
    "Look": (
        "list",
        "status",
        "segments",
        "seams",
        "why",
        "timeline",
        "chat",
        "jobs",
        "events",
        "monitor",
        "top",
        "logs",
        "play",
        "verify",
    ),
    "Record": ("record", "stop", "wait", "rotate", "retry", "keep", "unkeep", "prune"),
    "Watch": ("streamers", "add", "set", "edit", "remove", "enable", "disable", "probe", "notify"),
    "The daemon": ("settings", "reload", "streamlink", "check", "cleanup", "rescan", "export", "import", "completion"),
}
"""The commands as the help has them, each once."""

CHANGING = frozenset({*GROUPS["Record"], *GROUPS["Watch"], "reload", "cleanup", "rescan"}) - {"streamers"}
"""What has the daemon change something: it is not in doubt what the others leave behind."""


def find(name: str) -> Command | None:
    """The command of this name, None if there is none."""
    place = PLACES.get(name)
    if place is None:
        return None
    module = __import__(f"streamvaultd.ctl.commands.{place}", fromlist=["*"])
    command: Command = module.COMMANDS[name]
    return command
