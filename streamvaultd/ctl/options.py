# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands look like: their options and arguments, declared once, without a parser.

Two parsers read these declarations: quick.py, which is there at once and knows what is written plainly, and cli.py,
which has click explain everything else: help, mistakes, completion.
"""

from __future__ import annotations

import os
import time

from streamvaultd.ctl.index import CHANGING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from streamvaultd.ctl.session import Session

    F = TypeVar("F", bound="Callable[..., object]")

SOCKET = "/run/streamvaultd/io.streamvault.Recorder"


class Parameter:
    """An option (it has `flags`) or an argument of a command.

    `choices` are all values that it takes, `least` makes it a number that is not smaller. `complete` says of what its
    values are the names: "recording", "streamer", "file" or nothing. An argument whose metavar ends
    with "..." takes all that follow.
    """

    def __init__(
        self,
        *flags: str,
        name: str,
        metavar: str | None = None,
        is_flag: bool = False,
        choices: tuple[str, ...] = (),
        least: int | None = None,
        help: str = "",  # noqa: A002 - as everybody calls it
        required: bool = True,
        complete: str = "",
    ) -> None:
        self.flags = flags
        self.name = name
        self.metavar = metavar
        self.is_flag = is_flag
        self.choices = choices
        self.least = least
        self.help = help
        self.required = required and not flags
        self.complete = complete
        self.many = not flags and (metavar or "").endswith("...")


class Command:
    """A command; or a group of `commands`, which does nothing itself."""

    def __init__(self, name: str, function: Callable[..., object], parameters: list[Parameter]) -> None:
        self.name = name
        self.function = function
        self.parameters = [*parameters, *COMMON]
        self.help = function.__doc__ or ""
        self.commands: dict[str, Command] = {}

    def command(self, name: str) -> Callable[[Callable[..., object]], Command]:
        """Decorate a function that is a command of this group."""

        def declare(function: Callable[..., object]) -> Command:
            self.commands[name] = command(name)(function)
            return self.commands[name]

        return declare

    def __call__(self, session: Session, **values: object) -> object:
        """Run it."""
        session.may_change = self.name in CHANGING
        return self.function(session, **values)


def command(name: str) -> Callable[[Callable[..., object]], Command]:
    """Decorate a function that is a command: it gets the Session, and each parameter by its name."""

    def declare(function: Callable[..., object]) -> Command:
        parameters = list(reversed(getattr(function, "declared", [])))
        return Command(name, function, parameters)

    return declare


def option(
    *flags: str,
    name: str = "",
    metavar: str | None = None,
    is_flag: bool = False,
    choices: tuple[str, ...] = (),
    least: int | None = None,
    help: str = "",  # noqa: A002
    complete: str = "",
) -> Callable[[F], F]:
    """Decorate a command's function with an option; its name is that of the last flag unless one is given."""
    name = name or flags[-1].lstrip("-").replace("-", "_")
    return _declare(
        Parameter(
            *flags, name=name, metavar=metavar, is_flag=is_flag, choices=choices, least=least, help=help,
            complete=complete,
        )
    )  # fmt: skip


def argument(
    name: str, metavar: str, *, required: bool = True, least: int | None = None, complete: str = ""
) -> Callable[[F], F]:
    """Decorate a command's function with an argument; several values come as a tuple, and are the last."""
    return _declare(Parameter(name=name, metavar=metavar, required=required, least=least, complete=complete))


def _declare(parameter: Parameter) -> Callable[[F], F]:
    def declare(function: F) -> F:
        known = getattr(function, "declared", [])
        function.declared = [*known, parameter]  # type: ignore[attr-defined]
        return function

    return declare


RECORDING = argument("recording", "NAME|ID", complete="recording")
MAYBE_RECORDING = argument("recording", "[NAME|ID]", required=False, complete="recording")

COMMON = (
    Parameter(
        "--json",
        name="json",
        choices=("pretty", "short", "off"),
        help="Print the daemon's answers as JSON, indented or on one line.",
    ),
    Parameter("--no-pager", name="no_pager", is_flag=True, help="Do not pipe long output into a pager."),
    Parameter("--no-legend", name="no_legend", is_flag=True, help="Print neither column headers nor a footer."),
    Parameter("-q", "--quiet", name="quiet", is_flag=True, help="Print results and errors only."),
    Parameter("--utc", name="utc", is_flag=True, help="Show and read times in UTC, and not in the local zone."),
    Parameter(
        "--socket", name="socket", metavar="PATH", help=f"Socket of the daemon. [default: {SOCKET}]", complete="file"
    ),
)
"""The options of all commands, before or after their names; what they say is in the Session."""


def remember(session: Session, name: str, value: object) -> None:
    """Note a common option; one that says nothing changes nothing."""
    if value:
        setattr(session, name, value)
    if value and name == "utc":
        os.environ["TZ"] = "UTC0"
        time.tzset()
