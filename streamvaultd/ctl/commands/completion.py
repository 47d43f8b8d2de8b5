# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion in shells: the scripts that they load, and the names, which come from the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamvaultd.ctl.options import Command, Parameter, argument, command
from streamvaultd.ctl.outcome import Usage
from streamvaultd.ctl.session import Session
from streamvaultd.errors import VaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    import click
    from click.shell_completion import CompletionItem

SHELLS = {"bash": "streamvaultctl", "zsh": "_streamvaultctl", "fish": "streamvaultctl.fish"}
"""The script of each, under the name under which it is looked for."""

NAMES_MAX = 200


@command("completion")
@argument("shell", "bash|zsh|fish")
def completion(session: Session, *, shell: str) -> None:
    """Print the completion script of a shell.

    The package installs them where the shells look for them; this is for other installations.
    """
    if shell not in SHELLS:
        raise Usage(f"there is no completion for '{shell}'", [f"there is one for {', '.join(SHELLS)}"])
    for text in script(shell).rstrip("\n").split("\n"):
        session.screen.show_text(text)


def script(shell: str) -> str:
    """What a shell has to read."""
    from importlib import resources

    return resources.files("streamvaultd.ctl").joinpath("completion", SHELLS[shell]).read_text("utf-8")


def completer(parameter: Parameter) -> Callable[[click.Context, click.Parameter, str], list[Any]] | None:
    """What click asks for the values of a parameter."""
    if parameter.complete == "recording":
        return _recordings
    if parameter.complete == "streamer":
        return _streamers
    if parameter.complete == "file":
        return _files
    return None


def _files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="file")]


def _recordings(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    session = context.find_object(Session)
    return [] if session is None else [name for name in known_names(session) if name.startswith(begun)]


def _streamers(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    from streamvaultd.ctl import records
    from streamvaultd.ctl.commands.streamers import parse_streamer

    session = context.find_object(Session)
    if session is None:
        return []
    try:
        found = session.pages("ListStreamers", "streamers")
        return [name for name in (parse_streamer(item).name for item in found) if name.startswith(begun)]
    except (VaultError, records.BadAnswer):
        return []


def known_names(session: Session) -> list[str]:
    """Streamers, and numbers of recordings, that a recording may be called by; none if nobody tells."""
    from streamvaultd.ctl import records

    try:
        found = [
            records.parse_recording(item) for item in session.pages("List", "recordings", limit=NAMES_MAX, all=True)
        ]
    except (VaultError, records.BadAnswer):
        return []
    return [*dict.fromkeys(each.streamer for each in found), *(str(each.id) for each in found)]


COMMANDS: dict[str, Command] = {"completion": completion}
