# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the store share: databases to run on, a clock, and recorders of every possible content."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import Enum
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from sqlalchemy import Engine, event

from streamvaultd.core import ranges
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Broadcast, Moment, Policy, Recorder, Recording, Segment, State
from streamvaultd.store.engine import create_file, sqlite_url
from streamvaultd.store.hooked import HookedStore
from streamvaultd.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hypothesis.strategies import SearchStrategy
    from sqlalchemy import URL, Connection

BOOT = "6c3b0f6e-0000-4000-8000-000000000001"
LATER_BOOT = "6c3b0f6e-0000-4000-8000-000000000002"
NOW = Moment(monotonic=5_000.25, realtime=1_795_426_110_740_318)
HOUR = 3_600.0


def _fresh_sqlite(folder: Path) -> URL:
    create_file(folder / "store.db")
    return sqlite_url(folder / "store.db")


DATABASES: dict[str, Callable[[Path], URL]] = {"sqlite": _fresh_sqlite}
"""How to get an empty database, by kind; every test of the store runs on each."""


@dataclass
class SetClock:
    """Stands still where it is set."""

    moment: Moment = NOW

    def now(self) -> Moment:
        return self.moment


def later(seconds: float, moment: Moment = NOW) -> Moment:
    """The moment so much later."""
    return Moment(moment.monotonic + seconds, moment.realtime + round(seconds * 1e6))


def segment_path(recording: Recording, number: int) -> str:
    return f"{recording.directory}/{recording.streamer}/stream_{recording.stream}_segments/segment_{number:03d}.ts"


async def open_store(where: Path | URL, *, boot: str = BOOT, clock: SetClock | None = None) -> HookedStore:
    return await HookedStore.open(where, paths=segment_path, clock=clock or SetClock(), boot=boot)


async def start(
    store: LocalStore,
    streamer: str = "demo",
    now: Moment = NOW,
    policy: Policy | None = None,
    broadcast: Broadcast | None = None,
) -> Recorder:
    """A new recording of a streamer."""
    return await store.create_recording(
        streamer=streamer,
        url=f"https://example.org/{streamer}",
        quality="1080p60,best",
        directory="/srv/recordings",
        duration=None,
        policy=policy or Policy(),
        now=now,
        broadcast=broadcast,
    )


async def move(store: LocalStore, recorder: Recorder, state: State, *segments: Segment, **more: Any) -> Recorder:
    """Save a recorder in this state and with these segments."""
    moved = replace(recorder, state=state, segments=segments, **more)
    await store.save(moved, segments)
    return moved


@contextmanager
def statements(look: Callable[[Any], None] = lambda _driver: None) -> Iterator[list[str]]:
    """The statements that are executed meanwhile; `look` gets the driver's connection after each."""
    seen: list[str] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)
        look(connection.connection.driver_connection)

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "after_cursor_execute", note)


Record = TypeVar("Record")
_STATUS = st.integers(ranges.STATUS.low, ranges.STATUS.high)
_SMALL = st.integers(ranges.COUNT.low, ranges.COUNT.high)
_LARGE = st.integers(0, 2**62)
_NUMBER = st.integers(ranges.NUMBER.low, ranges.NUMBER.high)
_FINITE = st.floats(ranges.SECONDS.low, ranges.SECONDS.high)
_STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_MOMENT = st.builds(Moment, monotonic=_FINITE, realtime=st.integers(0, 253_402_300_799_999_999))
_PLAIN: dict[Any, SearchStrategy[Any]] = {
    int: _SMALL,
    float: _FINITE,
    str: _STORABLE,
    bool: st.booleans(),
    Moment: _MOMENT,
}


def anything(hint: Any) -> SearchStrategy[Any]:
    """Every value of an annotation that the core's records use."""
    if get_origin(hint) in (Union, UnionType):
        return st.one_of([anything(choice) for choice in get_args(hint)])
    if hint is type(None):
        return st.none()
    if get_origin(hint) is tuple:
        return st.lists(anything(get_args(hint)[0]), max_size=3).map(tuple)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return _PLAIN[hint]


def records(cls: type[Record], **given: SearchStrategy[Any]) -> SearchStrategy[Record]:
    """Every record of a dataclass: all fields take part, those that are added later included."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    return st.builds(cls, **{name: given[name] if name in given else anything(hints[name]) for name in names})


def _numbered(parts: list[Segment]) -> tuple[Segment, ...]:
    return tuple(replace(part, number=number) for number, part in enumerate(parts, 1))


def _forgotten(*names: str) -> dict[str, SearchStrategy[Any]]:
    """What the core says is not stored: comes back as its default."""
    defaults = {field.name: field.default for cls in (Recorder, Segment) for field in fields(cls)}
    return {name: st.just(defaults[name]) for name in names}


SIZE = st.none() | _LARGE
SEGMENTS = st.lists(
    records(
        Segment,
        size=_LARGE,
        memory_max=SIZE,
        memory_peak=SIZE,
        exit_status=st.none() | _STATUS,
        evidence=st.none() | records(Evidence, memory_max=SIZE, memory_peak=SIZE, status=st.none() | _STATUS),
        **_forgotten("anon", "anon_at", "anon_rate", "filtering", "muxed", "earlier_boot"),
        **_forgotten("suspect", "suspect_since", "suspect_until", "flows", "unfit"),
        **_forgotten("pace", "looked_at", "asked_at", "answered_at", "ask_rest", "asked_mark", "left_behind", "pause"),
    ),
    max_size=4,
).map(_numbered)
RECORDINGS = records(Recording, policy=records(Policy, rotate_size=_LARGE), id=_NUMBER, stream=_NUMBER)
RECORDERS = records(
    Recorder,
    recording=RECORDINGS,
    segments=SEGMENTS,
    memory_max=SIZE,
    result_bytes=SIZE,
    probe=_LARGE,
    **_forgotten("host_stopping", "gone", "mark"),
)
