# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a recording becomes; goes on when the daemon is restarted, as the recording itself does."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from streamvaultd.ctl.outcome import Failed
from streamvaultd.ctl.session import recording_of
from streamvaultd.errors import ConnectionLost, SubscriberTooSlow

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from streamvaultd.ctl.records import Answer, Recording
    from streamvaultd.ctl.session import Session

    Tell = Callable[[Recording], None]


class Request:
    """How far a request that is waited for has come, for one who interrupts the waiting."""

    def __init__(self) -> None:
        self.is_sent = False
        self.is_accepted = False

    def call(self, session: Session, method: str, recording: int) -> Recording:
        """Ask the daemon; its answer's recording."""
        self.is_sent = True
        state = recording_of(session.call(method, recording=str(recording)))
        self.is_accepted = True
        return state


_FRUITLESS_MAX: Final = 3
"""How many subscriptions in a row may end without an answer before the daemon counts as gone."""


def answers(session: Session, recording: str | None) -> Generator[Answer, None, None]:
    """The answers of Subscribe, without end; subscribes again when the connection is lost.

    Raises DaemonNotRunning when nobody listens any more, ConnectionLost when the daemon hangs up again and again.
    """
    is_again = False
    fruitless = 0
    while True:
        try:
            if is_again and recording is not None:
                # it may have ended meanwhile, and then nothing would come any more
                yield session.call("Get", recording=recording)
            for answer in session.more("Subscribe", recording=recording):
                fruitless = 0
                yield answer
        except (ConnectionLost, SubscriberTooSlow):
            if fruitless == _FRUITLESS_MAX:
                raise
        else:
            if fruitless == _FRUITLESS_MAX:
                raise ConnectionLost(address=session.socket, why="the daemon ends every subscription at once")
        fruitless += 1
        is_again = True


@contextmanager
def changes(session: Session, recording: int) -> Iterator[Iterator[Recording]]:
    """What a recording is and becomes. The first item is its present state: by then the subscription stands."""
    with closing(_states(session, recording)) as states:
        yield states


def _states(session: Session, recording: int) -> Generator[Recording, None, None]:
    with closing(answers(session, str(recording))) as all_answers:
        for answer in all_answers:
            if answer.get("recording") is not None and (state := recording_of(answer)).id == recording:
                yield state


def record(
    session: Session, parameters: Mapping[str, object], is_done: Callable[[Recording], bool]
) -> Generator[Recording, None, None]:
    """Start a recording; its states, until the daemon has given the last answer that was asked for.

    When the connection is lost after the recording was accepted, it is followed by Subscribe until `is_done`.
    """
    latest: Recording | None = None
    try:
        for answer in session.more("Record", **parameters):
            if latest is None:
                session.warn(answer)
            latest = recording_of(answer)
            yield latest
    except ConnectionLost:
        if latest is None:
            raise
    else:
        return
    with changes(session, latest.id) as states:
        for state in states:
            yield state
            if is_done(state) or state.is_final:
                return


def ask(method: str, session: Session, recording: Recording, request: Request, _tell: Tell) -> Recording:
    """Ask only, and wait for nothing; returns the state of the daemon's answer."""
    return request.call(session, method, recording.id)


def stop(session: Session, recording: Recording, request: Request, tell: Tell) -> Recording:
    """Stop a recording and wait for its end; returns its final state."""
    with changes(session, recording.id) as states:
        state = next(states)
        request.call(session, "Stop", recording.id)
        while not state.is_final:
            state = next(states)
            tell(state)
    return state


def wait(session: Session, recording: Recording, request: Request, tell: Tell) -> Recording:
    """Wait for the end of a recording, and ask for nothing; returns its final state."""
    request.is_accepted = True
    with changes(session, recording.id) as states:
        state = next(states)
        while not state.is_final:
            tell(state)
            state = next(states)
    return state


def retry(session: Session, recording: Recording, request: Request, tell: Tell) -> Recording:
    """Try a recording again and wait for its end; returns its final state."""
    with changes(session, recording.id) as states:
        next(states)
        state = request.call(session, "Retry", recording.id)
        while not state.is_final:
            tell(state)
            # what was told before it was tried again may still be on its way
            state = next(states)
    return state


def rotate(session: Session, recording: Recording, request: Request, tell: Tell) -> Recording:
    """Rotate a recording and wait until a new segment has taken over; raises Failed if none did."""
    with changes(session, recording.id) as states:
        before = next(states)
        state = begin_rotation(session, before, request, tell)
        # states of before the rotation may still be on their way: they have fewer segments
        while state.state != "recording" or state.segments <= before.segments:
            state = next(states)
            tell(state)
            if state.is_final:
                raise _unrotated(state, "it has ended")
    return _taken_over(session, state)


def begin_rotation(session: Session, recording: Recording, request: Request, _tell: Tell) -> Recording:
    """Ask for the next segment; raises Failed if the daemon starts none. Returns the state of its answer."""
    state = request.call(session, "Rotate", recording.id)
    if state.state != "rotating" and state.segments <= recording.segments:
        raise _unrotated(state, f"no segment of it writes media now, it is {state.state}")
    return state


def _taken_over(session: Session, state: Recording) -> Recording:
    segment = max(session.segments(state.id), key=lambda segment: segment.number)
    if segment.phase != "writing":
        why = f"segment {segment.number} ended at once ({segment.cause or 'cause unknown'})"
        raise _unrotated(state, why, hint="the segment before it records on, and rotation is tried again later")
    return state


def _unrotated(state: Recording, why: str, *, hint: str = "") -> Failed:
    return Failed(f"cannot rotate recording {state.id} of '{state.streamer}': {why}", hint=hint)
