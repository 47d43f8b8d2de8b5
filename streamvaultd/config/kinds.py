# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of settings: how a TOML value is read, what it may be, how it is shown. Shared by all configuration files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamvaultd.base.networks import parse_network
from streamvaultd.base.units import exact_size, format_span, parse_size, parse_span
from streamvaultd.config.inputs import check_directory, check_quality, check_url
from streamvaultd.core.names import HookUnit
from streamvaultd.errors import VaultError

DAY: Final = 86400.0
NETWORKS_MAX: Final = 32
HOOKS_MAX: Final = 16

INFINITY: Final = "infinity"
HIDDEN: Final = "***"
"""What is shown in the place of values that may hold credentials."""


class Unfit(ValueError):
    """What is wrong with a value."""


@dataclass(frozen=True, slots=True)
class SettingKind:
    """`parse` makes of a TOML value what the program goes by, or raises Unfit. `allowed` says what it may be, and
    `show` writes what `parse` has made as a file could have it.
    """

    parse: Callable[[Any], Any]
    allowed: str = ""
    show: Callable[[Any], str] = lambda value: str(value) or "''"


def shown(value: object) -> str:
    """A value as a mistake quotes it."""
    try:
        return repr(value)[:200]
    except ValueError:
        return "a number that is too long"


def readable(file: Path) -> str:
    """The name of a file as a mistake has it: names are bytes, and may be no text."""
    return str(file).encode(errors="backslashreplace").decode()


def listed(values: Iterable[str]) -> str:
    """A list, as `settings` shows it."""
    return " ".join(values) or "[]"


def text(value: Any) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise Unfit("it must be a text that is not empty")
    return value


def texts(value: Any) -> list[str] | None:
    """A list of texts, which one text stands for if it is the only one; None for anything else."""
    found = [value] if isinstance(value, str) else value
    return found if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


def checked(check: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Reads a text as `check` has it, whose error says why it cannot."""

    def parse(value: Any) -> Any:
        try:
            return check(text(value))
        except VaultError as error:
            raise Unfit(str(error.fields["why"])) from None

    return parse


path: Final = checked(check_directory)
_quality: Final = checked(check_quality)


def _paths(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Unfit("it must be a list of absolute paths")
    return tuple(str(path(each)) for each in value)


def _qualities(value: Any) -> Any:
    return _quality(",".join(map(text, value)) if isinstance(value, list) else value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit("it must be true or false")
    return value


def _command(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise Unfit('it must be a command such as "streamlink" or a list of words')
    return tuple(words)


def _networks(value: Any) -> tuple[str, ...]:
    found = texts(value)
    if found is None or len(found) > NETWORKS_MAX:
        raise Unfit(f'it must be a list of at most {NETWORKS_MAX} networks, such as ["127.0.0.1", "169.254.0.0/16"]')
    try:
        return tuple(str(parse_network(text)) for text in found)
    except ValueError as error:
        raise Unfit(f"{error}; write a network as 127.0.0.0/8") from None


def _path_text(value: Any) -> str:
    return str(path(value))


def _hooks(value: Any) -> tuple[str, ...]:
    found = texts(value)
    if found is None or len(found) > HOOKS_MAX or not all(map(HookUnit.NAME.fullmatch, found)):
        raise Unfit(f'it must be a list of at most {HOOKS_MAX} names of hooks (a-z, 0-9 and -), such as ["nas"]')
    return tuple(dict.fromkeys(found))


URL: Final = SettingKind(checked(check_url))
PATH: Final = SettingKind(path, "absolute path")
PATH_TEXT: Final = SettingKind(_path_text, PATH.allowed)
PATHS: Final = SettingKind(_paths, "list of absolute paths", listed)
QUALITY_NAMES: Final = SettingKind(_quality, "names separated by commas")
QUALITY_LIST: Final = SettingKind(_qualities, "list of names, or names separated by commas")
FLAG: Final = SettingKind(_flag, "true or false", lambda value: "true" if value else "false")
COMMAND: Final = SettingKind(_command, "command, or list of words", listed)
HOOKS: Final = SettingKind(_hooks, "list of names of hooks", listed)
NETWORKS: Final = SettingKind(_networks, f"list of at most {NETWORKS_MAX} networks", listed)


def some_of(choices: Sequence[str]) -> SettingKind:
    """A list of some of these texts; none is an answer, too."""
    allowed = f"list of {', '.join(choices)}"

    def parse(value: Any) -> tuple[str, ...]:
        found = texts(value)
        if found is None or not set(found) <= set(choices):
            raise Unfit(f"it must be a {allowed}")
        return tuple(dict.fromkeys(found))

    return SettingKind(parse, allowed, listed)


def choice(choices: Iterable[str]) -> SettingKind:
    """One of these texts; those of an enum become its members."""
    by_text = {str(each): each for each in choices}
    allowed = " or ".join(by_text)

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in by_text:
            raise Unfit(f"it must be {allowed}")
        return by_text[value]

    return SettingKind(parse, allowed)


def span(low: float, high: float) -> SettingKind:
    """A time span between these, in seconds."""
    allowed = f"time span from {_span(low)} to {_span(high)}"

    def parse(value: Any) -> float:
        try:
            seconds = parse_span(str(value)) / 1e6 if isinstance(value, str | int) else None
        except ValueError as error:
            raise Unfit(str(error)) from None
        if isinstance(value, bool) or seconds is None or not low <= seconds <= high:
            raise Unfit(f"it must be a {allowed}, such as 23h58m48s")
        return seconds

    return SettingKind(parse, allowed, _span)


def _span(seconds: float) -> str:
    return format_span(round(seconds * 1e6)) if seconds else "0"


def size(low: int, high: int) -> SettingKind:
    """A size between these, in bytes."""
    allowed = f"size from {exact_size(low)} to {exact_size(high)}"

    def parse(value: Any) -> int:
        try:
            found = parse_size(str(value)) if isinstance(value, str | int) else None
        except ValueError as error:
            raise Unfit(str(error)) from None
        if isinstance(value, bool) or found is None or not low <= found <= high:
            raise Unfit(f"it must be a {allowed}, such as 100G")
        return found

    return SettingKind(parse, allowed, exact_size)


def count(low: int, high: int) -> SettingKind:
    """A whole number between these."""
    allowed = f"number from {low} to {high}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Unfit(f"it must be a {allowed}")
        return value

    return SettingKind(parse, allowed)


def limit(kind: SettingKind) -> SettingKind:
    """What is of this kind, or "infinity", which is None."""

    def parse(value: Any) -> Any:
        if value == INFINITY:
            return None
        try:
            return kind.parse(value)
        except Unfit as error:
            raise Unfit(f"{error}; or 'infinity'") from None

    def show(value: Any) -> str:
        return INFINITY if value is None else kind.show(value)

    return SettingKind(parse, f'{kind.allowed}, or "{INFINITY}"', show)
