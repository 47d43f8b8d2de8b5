# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses command lines that are written plainly; leaves all others to click, whose import takes as long as all else.

Whatever this is not sure about is None: abbreviated, joined or mistaken options, help, completion. A test compares the
two parsers.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from streamvaultd.ctl.options import Command, Parameter


class _NotSure(Exception):
    """Leave it to click."""


class Parsed:
    """The command that is meant, the values of its parameters, and what the common options say."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.values: dict[str, object] = {}
        self.common: dict[str, object] = {}


def parse(
    argv: Sequence[str], find: Callable[[str], Command | None], common: Iterable[Parameter], default: str
) -> Parsed | None:
    """What a command line means; None if only click can tell. `find` gives a command by its name."""
    try:
        return _parse(list(argv), find, list(common), default)
    except _NotSure:
        return None


def _parse(words: list[str], find: Callable[[str], Command | None], common: list[Parameter], default: str) -> Parsed:
    before: dict[str, object] = {}
    while words and words[0].startswith("-"):
        _take_option(words, common, before)
    command = find(words.pop(0) if words else default)
    while command is not None and command.commands:
        while words and words[0].startswith("-"):
            _take_option(words, common, before)
        command = command.commands.get(words.pop(0)) if words else None
    if command is None:
        raise _NotSure
    parsed = Parsed(command)
    shared = {parameter.name for parameter in common}
    found: dict[str, Any] = {}
    arguments = [parameter for parameter in command.parameters if not parameter.flags]
    while words:
        if words[0].startswith("-"):
            _take_option(words, command.parameters, found)
        elif arguments and arguments[0].many:
            found[arguments[0].name] = (*found.get(arguments[0].name, ()), _value(arguments[0], words.pop(0)))
        elif arguments:
            parameter = arguments.pop(0)
            found[parameter.name] = _value(parameter, words.pop(0))
        else:
            raise _NotSure
    if any(parameter.required and parameter.name not in found for parameter in arguments):
        raise _NotSure
    for parameter in command.parameters:
        if parameter.name not in shared:
            parsed.values[parameter.name] = found.get(parameter.name, False if parameter.is_flag else None)
    parsed.common = {**before, **{name: found[name] for name in found if name in shared}}
    return parsed


def _take_option(words: list[str], parameters: Iterable[Parameter], found: dict[str, object]) -> None:
    """Move an option, and its value, from the words to what is found."""
    flag, equals, value = words.pop(0).partition("=")
    for parameter in parameters:
        if flag in parameter.flags:
            break
    else:
        raise _NotSure
    if parameter.is_flag:
        if equals:
            raise _NotSure
        found[parameter.name] = True
        return
    if not equals:
        if not words or words[0].startswith("-"):
            raise _NotSure
        value = words.pop(0)
    elif not flag.startswith("--"):
        raise _NotSure
    found[parameter.name] = _value(parameter, value)


def _value(parameter: Parameter, text: str) -> object:
    if parameter.choices:
        if text not in parameter.choices:
            raise _NotSure
        return text
    if parameter.least is None:
        return text
    if not (text.isascii() and text.isdecimal() and len(text) < 19) or int(text) < parameter.least:
        raise _NotSure
    return int(text)
