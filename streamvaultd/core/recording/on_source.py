# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from answers about the source, and waiting for it."""

from __future__ import annotations

from dataclasses import replace

from streamvaultd.core.cause import Cause
from streamvaultd.core.model import Recorder, State, StopReason
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.effects import Notice
from streamvaultd.core.recording.policy import is_in_vain
from streamvaultd.core.recording.steps import (
    Step,
    ask_source,
    grace_after_trouble,
    launch,
    probe_instant,
    tell,
    wind_up,
)


def on_retry_due(recorder: Recorder, event: ev.RetryDue) -> Step:
    return launch(recorder, event.at)


def on_probe_due(recorder: Recorder, event: ev.ProbeDue) -> Step:
    if recorder.probing:  # nobody answered the last time
        recorder = replace(recorder, grace_until=grace_after_trouble(recorder, event.at.monotonic))
    return ask_source(recorder, event.at)


def on_looked_at(recorder: Recorder, event: ev.SourceProbed) -> Step:
    """An answer while something runs, or soon will: whether the playlist advances, though media may not."""
    return (_noted(recorder, event) if event.probe == recorder.probe else recorder), ()


def _noted(recorder: Recorder, event: ev.SourceProbed) -> Recorder:
    """A playlist that has changed is one of a broadcast that goes on, as long as runs get something of it."""
    if event.outcome is not ev.Outcome.LIVE or not event.mark:
        return recorder
    if recorder.mark in ("", event.mark) or is_in_vain(recorder, event.at.monotonic):
        return replace(recorder, mark=event.mark)
    return replace(recorder, mark=event.mark, grace_until=None, silent_since=None)


def on_probed(recorder: Recorder, event: ev.SourceProbed) -> Step:
    if event.probe != recorder.probe or not recorder.probing:
        return recorder, ()
    if event.outcome is ev.Outcome.LIVE:
        is_still = recorder.mark == event.mark != "" and _is_last_look(recorder)
        recorder = _noted(recorder, event)
        if is_still:  # nothing came for the whole of the grace period, and the playlist is as it was
            return wind_up(replace(recorder, detail="its playlist does not advance"), event.at)
        after, effects = launch(recorder, event.at)  # the grace period goes on until media prove it right
        return after, (*effects, tell(Notice.SOURCE_BACK))
    if event.outcome is ev.Outcome.UNSUPPORTED:
        return wind_up(replace(recorder, detail=event.detail), event.at)
    if event.outcome is ev.Outcome.TROUBLE:
        recorder = replace(recorder, grace_until=grace_after_trouble(recorder, event.at.monotonic))
    took = 0.0 if recorder.probe_at is None else event.at.monotonic - recorder.probe_at
    trouble = event.detail if event.outcome is ev.Outcome.TROUBLE else None
    again = probe_instant(recorder, event.at, took, trouble)
    is_gone = event.outcome in (ev.Outcome.ENDED, ev.Outcome.OFFLINE)
    return replace(recorder, probing=False, probe_at=again, gone=is_gone, detail=event.detail), ()


def _is_last_look(recorder: Recorder) -> bool:
    """The grace period was over before the source was asked: runs went on getting nothing new until then."""
    return recorder.grace_until is not None and recorder.grace_until <= recorder.since.monotonic


def on_grace_over(recorder: Recorder, event: ev.GraceOver) -> Step:
    if not recorder.probing:
        is_said = recorder.gone and recorder.stop is None
        return wind_up(replace(recorder, stop=StopReason.OVER) if is_said else recorder, event.at)
    until = grace_after_trouble(recorder, event.at.monotonic)  # the last question was not answered either
    if until is None or until <= event.at.monotonic:
        return wind_up(recorder, event.at)
    return on_probe_due(recorder, ev.ProbeDue(at=event.at))


def on_network_back(recorder: Recorder, event: ev.NetworkBack) -> Step:
    """What waits because of the network need not wait any longer; a question that was asked without it is void."""
    if recorder.state is State.GRACE:
        return replace(recorder, probing=False, probe_at=event.at.monotonic), ()
    if not recorder.segments or recorder.segments[-1].cause not in _OF_NETWORK:
        return recorder, ()
    return launch(recorder, event.at)


_OF_NETWORK = frozenset({Cause.NETWORK, Cause.SOURCE_REFUSED, Cause.START_TIMEOUT, Cause.STALL})
