# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for click, made of their declarations: it explains mistakes and help, and completes what is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streamvaultd import __version__
from streamvaultd.ctl.commands.completion import completer
from streamvaultd.ctl.index import GROUPS, PLACES, PROGRAM, find
from streamvaultd.ctl.options import COMMON, remember
from streamvaultd.ctl.outcome import Usage
from streamvaultd.ctl.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamvaultd.ctl.options import Command, Parameter

INTRODUCTION = """Control streamvaultd, which records live streams. Without a command: list what is recorded.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 the daemon cannot be reached, 4 no such recording or segment.
"""


COMMON_HELP = (
    f"And the options of all commands: {', '.join(each.flags[-1] for each in COMMON)}. "
    f"'{PROGRAM} --help' explains them."
)


class UnknownCommand(click.UsageError):
    """There is no such command; `possibilities` are those that may have been meant."""

    def __init__(self, name: str, known: Iterable[str], context: click.Context) -> None:
        from difflib import get_close_matches

        super().__init__(f"there is no command '{name}'", context)
        self.possibilities = get_close_matches(name, list(known), n=2)


class Plain(click.Command):
    """A command whose help has its own options; those of all commands are explained once."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        common = {each.name for each in COMMON}
        own = [each.get_help_record(ctx) for each in self.get_params(ctx) if each.name not in common]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record is not None])


class Group(click.Group):
    """Lists its commands in the order of their definition, and knows what a mistyped one may have meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, in the groups of the index; a group of few commands is one."""
        sections = GROUPS if self.name == PROGRAM else {"Commands": tuple(self.commands)}
        for title, names in sections.items():
            limit = formatter.width - 6 - max(map(len, self.commands))
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(limit)) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise UnknownCommand(args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)


def _parameter(parameter: Parameter) -> click.Parameter:
    kind: Any = None
    if parameter.choices:
        kind = click.Choice(list(parameter.choices))
    elif parameter.least is not None:
        kind = click.IntRange(min=parameter.least)
    shared: dict[str, Any] = {"type": kind, "shell_complete": completer(parameter)}
    if not parameter.flags:
        count = -1 if parameter.many else 1
        shared |= {"required": parameter.required, "nargs": count}
        return click.Argument([parameter.name], metavar=parameter.metavar, **shared)
    is_common = parameter in COMMON
    return click.Option(
        [*parameter.flags, parameter.name],
        metavar=parameter.metavar,
        help=parameter.help,
        expose_value=not is_common,
        callback=_remember if is_common else None,
        **({"is_flag": True} if parameter.is_flag else shared),  # given as False, it means something else to click
    )


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    # the same option may be given to the group and to the command: what is given stays, defaults change nothing
    session = context.find_object(Session)
    if session is not None and option.name is not None:
        remember(session, option.name, value)


def _callback(command: Command) -> Callable[..., object]:
    def run(**values: object) -> object:
        session = click.get_current_context().find_object(Session)
        assert session is not None  # noqa: S101 - main() gives it
        return command(session, **values)

    return run


def _command(command: Command) -> click.Command:
    parameters = [_parameter(parameter) for parameter in command.parameters]
    if not command.commands:
        return Plain(
            command.name, params=parameters, callback=_callback(command), help=command.help, epilog=COMMON_HELP
        )
    group = Group(command.name, params=parameters, help=command.help, no_args_is_help=False)
    for each in command.commands.values():
        group.add_command(_command(each))
    return group


def _build() -> click.Group:
    version = click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")

    def introduce() -> object:
        context = click.get_current_context()
        return None if context.invoked_subcommand else context.invoke(group.commands["list"])

    group = Group(
        PROGRAM, params=[_parameter(each) for each in COMMON], callback=introduce, help=INTRODUCTION,
        invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    for name in PLACES:
        found = find(name)
        assert found is not None, name  # noqa: S101 - PLACES says where it is
        group.add_command(_command(found))
    return version(group)


cli: click.Group = _build()


def run(argv: Sequence[str] | None, session: Session) -> object:
    """What the command returns; raises Usage with what is wrong and how it is meant."""
    try:
        return cli.main(
            args=None if argv is None else list(argv), prog_name=PROGRAM, obj=session, standalone_mode=False
        )
    except click.UsageError as exc:
        raise Usage(_usage_text(exc), _usage_hints(exc)) from exc
    except click.Abort as exc:
        raise KeyboardInterrupt from exc


def _usage_text(exc: click.UsageError) -> str:
    return (exc.message if isinstance(exc, click.NoSuchOption) else exc.format_message()).rstrip(".")


def _usage_hints(exc: click.UsageError) -> list[str]:
    hints = []
    if isinstance(exc, (click.NoSuchOption, UnknownCommand)) and exc.possibilities:
        hints.append(f"did you mean {' or '.join(repr(name) for name in sorted(exc.possibilities))}?")
    path = exc.ctx.command_path if exc.ctx is not None else PROGRAM
    return [*hints, f"'{path} --help' shows how it is used"]
