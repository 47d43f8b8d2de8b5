# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: the methods that list what is stored, in pages, and get one item of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from streamvaultd.api.present import Presenter
from streamvaultd.api.views import NUMBER_MAX, View, optional, paging, summary_view
from streamvaultd.base.clock import Clock
from streamvaultd.core.listing import (
    EVENT_KINDS,
    EventQuery,
    EventRow,
    JobQuery,
    Page,
    RecordingQuery,
    StreamQuery,
    StreamRow,
    Summary,
)
from streamvaultd.core.model import Recorder
from streamvaultd.errors import InvalidParameter, NoSuchEvent, NoSuchJob, NoSuchKind, NoSuchStream
from streamvaultd.reporting.hub import WholeJob
from streamvaultd.varlink.server import Call, Handler

UNFINISHED: Final = ("recording", "finalizing")
T = TypeVar("T")


class Event(EventRow, Protocol):
    """An event with what tells where it belongs."""

    @property
    def id(self) -> int: ...
    @property
    def recording(self) -> int | None: ...


class LookStore(Protocol):
    """What is stored, in pages; raises StoreUnavailable."""

    async def find(self, name_or_id: str) -> Recorder: ...
    async def page_recordings(self, query: RecordingQuery) -> Page[Summary]: ...
    async def page_streams(self, query: StreamQuery) -> Page[StreamRow]: ...
    async def stream(self, stream: int) -> StreamRow | None: ...
    async def page_jobs(self, query: JobQuery) -> Page[Any]: ...
    async def job(self, job: int) -> WholeJob | None: ...
    async def page_events(self, query: EventQuery) -> Page[Any]: ...
    async def event(self, event: int) -> Event | None: ...


class LookApi:
    """Handlers of these methods; `handlers()` is what the server is given. `recorders` are what is in memory."""

    def __init__(
        self, *, store: LookStore, clock: Clock, presenter: Presenter, recorders: Mapping[int, Recorder]
    ) -> None:
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._recorders = recorders

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {
            "List": self.list,
            "ListStreams": self.list_streams,
            "GetStream": self.get_stream,
            "ListJobs": self.list_jobs,
            "GetJob": self.get_job,
            "ListEvents": self.list_events,
            "GetEvent": self.get_event,
        }

    async def list(self, call: Call) -> View:
        given = dict(call.parameters)
        statuses: tuple[str, ...] | None = (given["status"],) if given.get("status") is not None else None
        is_asked = any(given.get(name) is not None for name in ("streamer", "status", "state", "since", "until"))
        if not is_asked and not given.get("kept") and not given.get("all"):
            statuses = UNFINISHED
        wanted = chosen(given, "streamer", "state", "since", "until", "kept")
        page = await self._store.page_recordings(RecordingQuery(statuses=statuses, **paging(given), **wanted))
        known, now = self._recorders, self._clock.now()
        numbers = [each.recorder.recording.id for each in page.items]
        running = [known[number] for number in numbers if number in known]
        found = {view["id"]: view for view in await self._presenter.recordings(running)}
        shown = [
            found.get(number) or summary_view(each, now) for number, each in zip(numbers, page.items, strict=True)
        ]
        return answer("recordings", await self._presenter.with_chats(shown), page)

    async def list_streams(self, call: Call) -> View:
        wanted = chosen(call.parameters, "streamer", "live", "since", "until")
        page = await self._store.page_streams(StreamQuery(**paging(call.parameters), **wanted))
        return answer("streams", [stream_view(row) for row in page.items], page)

    async def get_stream(self, call: Call) -> View:
        number = number_of(call, "stream")
        found = await self._store.stream(number)
        if found is None:
            raise NoSuchStream(stream=number)
        return {"stream": stream_view(found)}

    async def list_jobs(self, call: Call) -> View:
        wanted = chosen(call.parameters, "kind", "status") | await self._recording(call)
        page = await self._store.page_jobs(JobQuery(**paging(call.parameters), **wanted))
        return answer("jobs", [job_view(job) for job in page.items], page)

    async def get_job(self, call: Call) -> View:
        number = number_of(call, "job")
        found = await self._store.job(number)
        if found is None:
            raise NoSuchJob(job=number)
        return {"job": job_view(found)}

    async def list_events(self, call: Call) -> View:
        wanted = chosen(call.parameters, "streamer", "kind", "priority", "since", "until")
        wanted |= await self._recording(call)
        page = await self._store.page_events(EventQuery(**paging(call.parameters), **wanted))
        if not page.items and wanted.get("kind", EVENT_KINDS[0]) not in EVENT_KINDS:
            raise NoSuchKind(kind=wanted["kind"], known=", ".join(EVENT_KINDS))
        return answer("events", [event_row_view(event) for event in page.items], page)

    async def get_event(self, call: Call) -> View:
        number = number_of(call, "event")
        found = await self._store.event(number)
        if found is None:
            raise NoSuchEvent(event=number)
        return {"event": event_row_view(found)}

    async def _recording(self, call: Call) -> dict[str, int]:
        """The number of the recording that is asked for, if one is."""
        wanted = call.parameters.get("recording")
        if wanted is None:
            return {}
        return {"recording": (await self._store.find(wanted)).recording.id}


def chosen(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of the parameters that are given; dates and priorities in range."""
    found = {name: given[name] for name in names if given.get(name) is not None}
    for name in ("since", "until"):
        if not 0 <= found.get(name, 0) <= TIME_MAX:
            raise InvalidParameter(parameter=name)
    if not 0 <= found.get("priority", 0) <= PRIORITY_MAX:
        raise InvalidParameter(parameter="priority")
    return found


PRIORITY_MAX: Final = 7
"""debug, the least of syslog's levels."""

TIME_MAX: Final = 253_402_300_799_999_999
"""The end of the year 9999, in microseconds since 1970."""


def number_of(call: Call, name: str) -> int:
    """A number that may be something's."""
    number: int = call.parameters[name]
    if not 0 <= number <= NUMBER_MAX:
        raise InvalidParameter(parameter=name)
    return number


def answer(name: str, items: Sequence[View], page: Page[T]) -> View:
    """A page as it is answered."""
    return {name: list(items)} | optional(next=page.next)


def _date(realtime: int | None) -> View | None:
    return None if realtime is None else {"realtime": realtime}


def stream_view(row: StreamRow) -> View:
    """A Stream."""
    return {
        "id": row.id,
        "streamer": row.streamer,
        "startedAt": _date(row.started),
        "recordings": list(row.recordings),
    } | optional(siteId=row.site_id, title=row.title, category=row.category, endedAt=_date(row.ended))


def job_view(job: WholeJob) -> View:
    """A Job."""
    result = job.result or {}
    why, path, size = result.get("why"), result.get("path"), result.get("bytes")
    return {
        "id": job.id,
        "recording": job.recording,
        "kind": job.kind,
        "status": str(job.status),
        "attempts": job.attempts,
        "unit": job.unit,
        "createdAt": _date(job.created),
    } | optional(
        endedAt=_date(job.ended),
        why=None if why is None else str(why),
        path=path if isinstance(path, str) else None,
        bytes=size if isinstance(size, int) else None,
    )


def event_row_view(event: Event) -> View:
    """An Event that is stored."""
    return {
        "id": event.id,
        "at": _date(event.at),
        "kind": event.kind,
        "priority": event.priority,
        "message": event.message,
    } | optional(recording=event.recording, segment=event.segment, cause=event.cause)
