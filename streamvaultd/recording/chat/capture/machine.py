# SPDX-License-Identifier: GPL-3.0-or-later
"""What the capture of a chat does about what happens to its connections. Pure: no I/O, no clock, no chance.

`step(state, event)` returns the next state and what to do; every event carries its instant, in seconds of one clock
that never goes back. `due(state)` is when to be woken with a Tick. A connection is a Link, by a number that is used
once: what is heard of another one is late, and means nothing.

Nothing is kept of a link before the server has confirmed that it is in the channel. When the server says that it will
close a link (RECONNECT), another one is opened first, and both are kept for a while: what comes twice has one id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from streamvaultd.base.irc import IrcLine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, TypeAlias

CAPABILITIES: Final = "twitch.tv/tags twitch.tv/commands"

OPEN_LIMIT: Final = 300.0
"""A connection that is not there after so long (s), its turn included, is given up."""

HELLO_LIMIT: Final = 5.0
"""Who has not said within this (s) whether it is Twitch is taken for it."""

JOIN_LIMIT: Final = 20.0
JOIN_LIMIT_MAX: Final = 300.0
"""When (s) the wish to be in the channel is said again, unless the server has confirmed it; then twice as late."""

REJOIN: Final = 2.0
"""Who was kicked comes back after so long (s)."""

SILENCE: Final = 45.0
"""When nothing was heard of a link for so long (s), it is asked whether it lives."""

ANSWER_LIMIT: Final = 15.0
"""One that does not answer within this (s) is half open: it is given up."""

OVERLAP: Final = 10.0
"""A link that the server will close is kept for so long (s) beside the one that takes over."""

LINKS_MAX: Final = 3
"""Connections at a time: one that the server will close, its successor, and one more."""

DELAYS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses (s) between tries that fail in a row, and up to half as much more, so that many do not come at once."""

LASTING: Final = 60.0
"""A link that was in the channel for so long (s) shows that the last failure is over."""

TAKEN: Final = ("432", "433", "436", "437")
REFUSED: Final = ("403", "405", "471", "473", "474", "475", "477", "489")
"""Numbers with which servers refuse a nickname, and a channel."""

KEPT: Final = frozenset(
    {"PRIVMSG", "NOTICE", "USERNOTICE", "CLEARCHAT", "CLEARMSG", "ROOMSTATE", "HOSTTARGET", "KICK", "TOPIC"}
)
"""What is said in a channel, and about it. That others come and go is left out: Twitch says it late, or not at all."""


class Stage(Enum):
    """How far a link has come."""

    OPENING = "opening"
    ENTERING = "entering"
    JOINED = "joined"


@dataclass(frozen=True, slots=True)
class Link:
    """A connection. `since`: when its stage began, for OPENING and JOINED; `until`: when it is closed."""

    number: int
    since: float
    stage: Stage = Stage.OPENING
    heard: float = 0.0
    pinged: float | None = None
    has_commands: bool = False
    is_introduced: bool = False
    is_welcome: bool = False
    join_at: float | None = None
    join_wait: float = JOIN_LIMIT
    is_leaving: bool = False
    until: float | None = None
    names: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """Of a capture. `away`: since when no link is in the channel; `spread` (0 to 1) sets many captures apart."""

    channel: str
    nick: int
    spread: float
    away: float | None
    links: tuple[Link, ...] = ()
    opened: int = 0
    failures: int = 0
    retry_at: float | None = None

    def link(self, number: int) -> Link | None:
        """The link of this number, if there is one."""
        return next((link for link in self.links if link.number == number), None)

    @property
    def is_joined(self) -> bool:
        """Whether what is said is heard."""
        return any(link.stage is Stage.JOINED for link in self.links)


@dataclass(frozen=True, slots=True)
class Opened:
    """A link is connected."""

    at: float
    link: int


@dataclass(frozen=True, slots=True)
class Received:
    """A line has come."""

    at: float
    link: int
    line: IrcLine


@dataclass(frozen=True, slots=True)
class Closed:
    """A link is gone, or could not be opened."""

    at: float
    link: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""

    at: float


@dataclass(frozen=True, slots=True)
class Held:
    """The disk takes nothing, so nothing is read from any link: that none is heard says nothing about it."""

    at: float


Event: TypeAlias = "Opened | Received | Closed | Tick | Held"


@dataclass(frozen=True, slots=True)
class Open:
    """Connect, when it is this one's turn -> Opened | Closed"""

    link: int


@dataclass(frozen=True, slots=True)
class Send:
    """Say this."""

    link: int
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close it; nothing more is heard of it."""

    link: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Write down the line that has just come."""


@dataclass(frozen=True, slots=True)
class Found:
    """The channel is heard, and was not since `away`."""

    away: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The channel is not heard any more."""


Effect: TypeAlias = "Open | Send | Close | Keep | Found | Lost"
Effects: TypeAlias = "tuple[Effect, ...]"


def begin(channel: str, nick: int, spread: float, at: float) -> tuple[State, Effects]:
    """A capture of a channel (without the #)."""
    return _open(State(channel=channel.lower(), nick=nick, spread=spread, away=at), at)


def step(state: State, event: Event) -> tuple[State, Effects]:
    """What follows from an event."""
    if isinstance(event, Tick):
        return _weighed(state, *_tick(state, event.at), event.at)
    if isinstance(event, Held):
        return replace(state, links=tuple(_held(link, event.at) for link in state.links)), ()
    link = state.link(event.link)
    if link is None:
        return state, ()
    if isinstance(event, Opened):
        after, effects = _on_opened(state, link, event.at)
    elif isinstance(event, Closed):
        after, effects = _without(state, link, event.at)
    elif link.stage is Stage.OPENING:
        return state, ()
    else:
        after, effects = _on_line(state, replace(link, heard=event.at, pinged=None), event.line, event.at)
    return _weighed(state, after, effects, event.at)


def due(state: State) -> float:
    """When the next Tick is wanted."""
    return min((*_dues(state),), default=float("inf"))


def _dues(state: State) -> Iterator[float]:
    if state.retry_at is not None:
        yield state.retry_at
    for link in state.links:
        yield from (instant for instant in (link.until, link.join_at) if instant is not None)
        if link.stage is Stage.OPENING:
            yield link.since + OPEN_LIMIT
        elif link.pinged is not None:
            yield link.pinged + ANSWER_LIMIT
        else:
            yield link.heard + SILENCE


def _weighed(before: State, after: State, effects: Effects, at: float) -> tuple[State, Effects]:
    """With what follows from being in the channel, or not any more."""
    if after.is_joined and after.away is not None:
        return replace(after, away=None), (*effects, Found(after.away))
    if before.is_joined and not after.is_joined:
        return replace(after, away=at), (*effects, Lost())
    return after, effects


def _open(state: State, at: float) -> tuple[State, Effects]:
    """One more; of a server that announces the end of each and ends none, the oldest are given up."""
    number, surplus = state.opened + 1, state.links[: max(0, len(state.links) + 1 - LINKS_MAX)]
    links = (*state.links[len(surplus) :], Link(number, at))
    opened = replace(state, opened=number, links=links, retry_at=None)
    return opened, (*(Close(link.number) for link in surplus), Open(number))


def _put(state: State, link: Link) -> State:
    return replace(state, links=tuple(link if each.number == link.number else each for each in state.links))


def _nick(state: State, link: Link) -> str:
    """Another one for each link: two of the same are not possible everywhere."""
    return f"justinfan{10000 + (state.nick + link.number * 7 + link.names * 101) % 90000}"


def _on_opened(state: State, link: Link, at: float) -> tuple[State, Effects]:
    entered = replace(link, stage=Stage.ENTERING, heard=at, join_at=at + HELLO_LIMIT)
    return _put(state, entered), (Send(link.number, f"CAP REQ :{CAPABILITIES}"),)


def _introduce(state: State, link: Link, at: float, *, is_twitch: bool) -> tuple[State, Effects]:
    """Twitch wants a password, whichever; other servers refuse a client that gives one that they do not want."""
    if link.is_introduced:
        return _put(state, link), ()
    nick = _nick(state, link)
    lines = (*(("PASS anonymous",) if is_twitch else ()), f"NICK {nick}", f"USER {nick} 0 * :{nick}", "CAP END")
    introduced = replace(link, is_introduced=True, join_at=at + JOIN_LIMIT)
    return _put(state, introduced), tuple(Send(link.number, line) for line in lines)


def _without(state: State, link: Link, at: float) -> tuple[State, Effects]:
    """A link is gone. Another one is opened, soon or at once, unless one is there that goes on."""
    left = replace(state, links=tuple(each for each in state.links if each.number != link.number))
    return _replace_link(left, link, at)


def _replace_link(state: State, link: Link, at: float) -> tuple[State, Effects]:
    """Open another one for a link that is gone or will be, unless one goes on; after a pause if many fail."""
    if state.retry_at is not None or any(not each.is_leaving for each in state.links):
        return state, ()
    failures = 0 if link.stage is Stage.JOINED and at - link.since >= LASTING else state.failures
    delay = DELAYS[min(failures, len(DELAYS) - 1)]
    state = replace(state, failures=failures + 1)
    if delay == 0:
        return _open(state, at)
    return replace(state, retry_at=at + delay * (1 + state.spread / 2)), ()


def _on_line(state: State, link: Link, line: IrcLine, at: float) -> tuple[State, Effects]:
    is_here = bool(line.params) and line.params[0].lower() == f"#{state.channel}"
    match line.command:
        case "PING":
            return _put(state, link), (Send(link.number, f"PONG :{line.params[-1] if line.params else ''}"),)
        case "CAP":
            is_twitch = "ACK" in line.params and "twitch.tv/commands" in line.params[-1].split()
            return _introduce(state, replace(link, has_commands=is_twitch), at, is_twitch=is_twitch)
        case "421" if not link.is_introduced:  # a server without capabilities
            return _introduce(state, link, at, is_twitch=False)
        case "001":
            return _join(state, replace(link, is_welcome=True), at)
        case "366" if not link.has_commands and len(line.params) > 1 and line.params[1].lower() == f"#{state.channel}":
            return _on_joined(state, link, at)
        case "RECONNECT" | "ERROR":
            return _on_reconnect(state, link, at)
        case command if command in TAKEN and not link.is_welcome:
            other = replace(link, names=link.names + 1)
            return _put(state, other), (Send(link.number, f"NICK {_nick(state, other)}"),)
        case command if command in REFUSED:
            return _put(state, replace(link, join_at=at + link.join_wait)), ()
        case "ROOMSTATE" if is_here and link.stage is Stage.ENTERING:
            joined, effects = _on_joined(state, link, at)
            return joined, (*effects, Keep())
        case "KICK" | "PART" if is_here and _is_own(state, link, line):
            out = replace(link, stage=Stage.ENTERING, join_at=at + REJOIN, join_wait=JOIN_LIMIT)
            return _put(state, out), (Keep(),) if link.stage is Stage.JOINED else ()
        case command if command in KEPT and is_here and link.stage is Stage.JOINED:
            return _put(state, link), (Keep(),)
    return _put(state, link), ()


def _is_own(state: State, link: Link, line: IrcLine) -> bool:
    who = line.params[1] if line.command == "KICK" and len(line.params) > 1 else line.nick
    return who.lower() == _nick(state, link)


def _join(state: State, link: Link, at: float) -> tuple[State, Effects]:
    asked = replace(link, join_at=at + link.join_wait, join_wait=min(link.join_wait * 2, JOIN_LIMIT_MAX))
    return _put(state, asked), (Send(link.number, f"JOIN #{state.channel}"),)


def _on_joined(state: State, link: Link, at: float) -> tuple[State, Effects]:
    """From now on this link is kept; those that leave, a little longer."""
    since = link.since if link.stage is Stage.JOINED else at
    joined = replace(link, stage=Stage.JOINED, since=since, join_at=None, join_wait=JOIN_LIMIT)
    others = tuple(replace(each, until=at + OVERLAP) if each.is_leaving else each for each in state.links)
    return _put(replace(state, links=others), joined), ()


def _on_reconnect(state: State, link: Link, at: float) -> tuple[State, Effects]:
    """The server will close the link, and says so: one that takes over is opened first."""
    if link.is_leaving:
        return _put(state, link), ()
    return _replace_link(_put(state, replace(link, is_leaving=True)), link, at)


def _tick(state: State, at: float) -> tuple[State, Effects]:
    done: Effects = ()
    for link in state.links:
        if _has_failed(link, at):
            state, more = _without(state, link, at)
            done = (*done, Close(link.number), *more)
        elif link.join_at is not None and link.join_at <= at:
            state, more = _join(state, link, at) if link.is_welcome else _introduce(state, link, at, is_twitch=True)
            done = (*done, *more)
        elif link.stage is not Stage.OPENING and link.pinged is None and link.heard + SILENCE <= at:
            state = _put(state, replace(link, pinged=at))
            done = (*done, Send(link.number, f"PING :{link.number}"))
    if state.retry_at is not None and state.retry_at <= at:
        state, more = _open(state, at)
        done = (*done, *more)
    return state, done


def _held(link: Link, at: float) -> Link:
    """With all that it is waited for beginning anew."""
    since = at if link.stage is Stage.OPENING else link.since
    join_at = None if link.join_at is None else max(link.join_at, at + HELLO_LIMIT)
    return replace(link, since=since, heard=at, pinged=None, join_at=join_at)


def _has_failed(link: Link, at: float) -> bool:
    if link.until is not None and link.until <= at:
        return True
    if link.stage is Stage.OPENING:
        return link.since + OPEN_LIMIT <= at
    if link.join_at is not None and link.is_introduced and not link.is_welcome and link.join_at <= at:
        return True
    return link.pinged is not None and link.pinged + ANSWER_LIMIT <= at
