# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands are found, and the options that every command takes, before or after its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

from streamvaultd.ctl.session import SOCKET, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

F = TypeVar("F", bound="Callable[..., object]")


class UnknownCommand(click.UsageError):
    """There is no such command; `possibilities` are those that may have been meant."""

    def __init__(self, name: str, known: Iterable[str], context: click.Context) -> None:
        from difflib import get_close_matches  # only where it is needed: most runs do without it

        super().__init__(f"there is no command '{name}'", context)
        self.possibilities = get_close_matches(name, list(known), n=2)


class Group(click.Group):
    """Lists its commands in the order of their definition, and knows what a mistyped one may have meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise UnknownCommand(args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    # the same option may be given to the group and to the command: what is given stays, defaults change nothing
    session = context.find_object(Session)
    if session is not None and option.name is not None and value:
        setattr(session, option.name, value)


def common_options(function: F) -> F:
    """Decorate a command with the options of all commands; they are found in the Session."""
    for option in reversed(
        (
            click.option(
                "--json",
                type=click.Choice(["pretty", "short", "off"]),
                help="Print the daemon's answers as JSON, indented or on one line.",
                expose_value=False,
                callback=_remember,
            ),
            _flag("--no-pager", help="Do not pipe long output into a pager."),
            _flag("--no-legend", help="Print neither column headers nor a footer."),
            _flag("-q", "--quiet", help="Print results and errors only."),
            click.option(
                "--socket",
                metavar="PATH",
                help=f"Socket of the daemon. [default: {SOCKET}]",
                expose_value=False,
                callback=_remember,
            ),
        )
    ):
        function = option(function)
    return function


def _flag(*names: str, help: str) -> Callable[[F], F]:  # noqa: A002 - as click calls it
    return click.option(*names, is_flag=True, help=help, expose_value=False, callback=_remember)
