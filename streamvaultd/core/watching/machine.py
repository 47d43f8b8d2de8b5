# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher: who is watched, and who is asked when. Pure, as machine.py is; answers.py has what follows.

Whatever happens is an event; `step()` returns the watch after it and what is to be done. Nobody keeps a timer:
`next_deadline()` is computed from the watch. An answer carries the number of its question, so a late one does nothing.
docs/design/007-watching.md has the rules in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from streamvaultd.core.model import Instant, Moment
from streamvaultd.core.recording.events import Outcome
from streamvaultd.core.watching.answers import HELD, enter, on_streamer
from streamvaultd.core.watching.model import (
    Ask,
    Configured,
    Due,
    Happening,
    Hold,
    Mood,
    NetworkReturned,
    Past,
    ProbeAnswered,
    ProbeWanted,
    Sighting,
    Trouble,
    Watched,
    WatchState,
    Wish,
)
from streamvaultd.core.watching.streamer import Streamer

Step: TypeAlias = tuple[WatchState, tuple[Wish, ...]]

ANSWER_LIMIT: Final = 45.0
"""An answer that takes longer (s) is given up; the adapter has a shorter limit of its own."""

START_LIMIT: Final = 60.0
"""A recording that was asked for and of which nothing is heard for so long (s) is asked for anew."""

HOLD_KEPT: Final = 600.0
"""A broadcast without an identity that was stopped so long (s) ago may, for a new daemon, be over."""


def step(watch: WatchState, event: Happening) -> Step:
    """The watch after the event, and what is now to be done, in order."""
    match event:
        case Configured():
            return _configure(watch, event), ()
        case Due():
            return _on_due(watch, event)
        case NetworkReturned():
            return _on_network(watch, event), ()
        case _:
            watched = watch.streamers.get(event.name)
            if watched is None:
                return watch, ()
            after, wishes = on_streamer(watch.rules, watched, event)
            put = watch if after is watched else _put(watch, after)
            if isinstance(event, ProbeWanted) and after.asked_at is None:
                return _ask(put, after, event.at, wishes)
            return put, wishes


def next_deadline(watch: WatchState) -> Instant | None:
    """When `Due` will have something to do."""
    return min(_deadlines(watch), default=None)


def _put(watch: WatchState, watched: Watched) -> WatchState:
    return replace(watch, streamers={**watch.streamers, watched.streamer.name: watched})


# --- who is watched ------------------------------------------------------------------------------------------------


def _configure(watch: WatchState, event: Configured) -> WatchState:
    """Those who are gone are forgotten; their recordings go on. Nobody is asked here: the deadline does that."""
    found = {}
    for name, streamer in event.streamers.items():
        old = watch.streamers.get(name)
        found[name] = _adopt(streamer, event) if old is None else _change(old, streamer, event)
    return replace(watch, rules=event.rules, streamers=found)


def _adopt(streamer: Streamer, event: Configured) -> Watched:
    past = event.past.get(streamer.name, Past())
    watched = Watched(
        streamer=streamer, site=streamer.site, mood=Mood.DISABLED, since=event.at, site_id=past.site_id,
        usual=past.usual, hold=_old_hold(past), recording=past.recording,
    )  # fmt: skip
    return _enable(watched, event.at) if streamer.enabled else watched


def _old_hold(past: Past) -> Hold | None:
    if past.ended not in HELD or past.ago is None or (not past.site_id and past.ago > HOLD_KEPT):
        return None
    return Hold(site_id=past.site_id, why=HELD[past.ended])


def _enable(watched: Watched, at: Moment) -> Watched:
    mood = Mood.WAITING if watched.recording is None else Mood.RECORDING
    return enter(watched, mood, at, probe_at=at.monotonic, failures=0, unrecorded=0)


def _change(old: Watched, streamer: Streamer, event: Configured) -> Watched:
    if old.streamer == streamer:
        return old
    watched = replace(old, streamer=streamer, site=streamer.site)
    if old.streamer.url != streamer.url:
        # what was known is of another source; a recording of it goes on
        watched = replace(watched, hold=None, ended_at=None, site_id="", asked_at=None, unrecorded=0)
        watched = replace(watched, probe_at=event.at.monotonic)
    if not streamer.enabled:
        return enter(watched, Mood.DISABLED, event.at, probe_at=None, asked_at=None)
    if not old.streamer.enabled:
        return _enable(replace(watched, hold=None), event.at)
    if old.streamer != streamer and watched.recording is None:
        return replace(watched, probe_at=event.at.monotonic)
    return watched


# --- who is asked when ---------------------------------------------------------------------------------------------


def _deadlines(watch: WatchState) -> Iterator[Instant]:
    has_room = _asked(watch) < watch.rules.asked_max
    for watched in watch.streamers.values():
        if watched.asked_at is not None:
            yield watched.asked_at + ANSWER_LIMIT
        elif watched.mood is Mood.STARTING:
            yield watched.since.monotonic + START_LIMIT
        elif watched.probe_at is not None and has_room:
            yield max(watched.probe_at, _free_at(watch, watched))


def _asked(watch: WatchState) -> int:
    return sum(watched.asked_at is not None for watched in watch.streamers.values())


def _free_at(watch: WatchState, watched: Watched) -> Instant:
    never = float("-inf")
    return max(watch.free.get(watched.site, never), watch.free.get("", never))


def _on_due(watch: WatchState, event: Due) -> Step:
    now = event.at.monotonic
    wishes: tuple[Wish, ...] = ()
    for watched in watch.streamers.values():
        if watched.asked_at is not None and watched.asked_at + ANSWER_LIMIT <= now:
            sighting = Sighting(outcome=Outcome.TROUBLE, detail="no answer came", trouble=Trouble.PROBE)
            given_up = ProbeAnswered(
                at=event.at, chance=event.chance, name=watched.streamer.name, probe=watched.probe, sighting=sighting
            )
            watch, more = step(watch, given_up)
            wishes += more
        elif watched.mood is Mood.STARTING and watched.since.monotonic + START_LIMIT <= now:
            watch = _put(watch, enter(watched, Mood.WAITING, event.at, probe_at=now))
    return _ask_those_due(watch, event, wishes)


def _ask_those_due(watch: WatchState, event: Due, wishes: tuple[Wish, ...]) -> Step:
    """Those that wait longest first, as far as their sites and our own limit allow."""
    now = event.at.monotonic
    due = [w for w in watch.streamers.values() if _is_due(w, now)]
    for watched in sorted(due, key=lambda one: (one.probe_at, one.streamer.name)):
        if _asked(watch) >= watch.rules.asked_max:
            break
        if _free_at(watch, watched) <= now:
            watch, wishes = _ask(watch, watched, event.at, wishes)
    return watch, wishes


def _is_due(watched: Watched, now: Instant) -> bool:
    is_able = watched.asked_at is None and watched.mood is not Mood.STARTING
    return is_able and watched.probe_at is not None and watched.probe_at <= now


def _ask(watch: WatchState, watched: Watched, at: Moment, wishes: tuple[Wish, ...]) -> Step:
    name, site, now = watched.streamer.name, watched.site, at.monotonic
    asked = replace(watched, probe=watched.probe + 1, asked_at=now, probe_at=None)
    busy = {site: now + watch.rules.spacing, "": now + watch.rules.pace}
    free = {known: instant for known, instant in watch.free.items() if instant > now} | busy
    return replace(_put(watch, asked), free=free), (*wishes, Ask(name, asked.probe))


def _on_network(watch: WatchState, event: NetworkReturned) -> WatchState:
    """What could not be told need not wait any longer; sites are spaced all the same."""
    changed = {
        name: replace(watched, probe_at=event.at.monotonic, failures=0)
        for name, watched in watch.streamers.items()
        if watched.mood is Mood.TROUBLE and watched.asked_at is None
    }
    return replace(watch, streamers={**watch.streamers, **changed})
