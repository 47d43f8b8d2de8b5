# SPDX-License-Identifier: GPL-3.0-or-later
"""io.streamvault.Recorder: Subscribe, which tells what happens as it happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

from streamvaultd.api.lists import job_view, stream_view
from streamvaultd.api.present import Presenter, Segments
from streamvaultd.api.results import seam_view
from streamvaultd.api.views import View, event_view, streamer_view
from streamvaultd.base.clock import Clock
from streamvaultd.core.listing import StreamRow
from streamvaultd.core.model import Recorder, SeamRecord
from streamvaultd.core.watching.model import Watched
from streamvaultd.reporting.hub import AnyNews, Hub, JobNews, News, StreamerNews
from streamvaultd.varlink.server import Call, Handler, Stream

DEFAULT_TOPICS: Final = frozenset({"recordings", "events"})


class FeedStore(Protocol):
    """What a subscriber gets besides the news; raises StoreUnavailable."""

    async def find(self, name_or_id: str) -> Recorder: ...
    async def stream(self, stream: int) -> StreamRow | None: ...
    async def seams(self, recording: int) -> Sequence[SeamRecord]: ...


class Watches(Protocol):
    """Who is watched."""

    @property
    def watched(self) -> Mapping[str, Watched]: ...


class SubscribeApi:
    """The handler; `recorders` are what is in memory."""

    def __init__(
        self,
        *,
        store: FeedStore,
        hub: Hub,
        clock: Clock,
        presenter: Presenter,
        recorders: Mapping[int, Recorder],
        watches: Watches,
        segments: Segments,
    ) -> None:
        self._watches = watches
        self._store = store
        self._hub = hub
        self._clock = clock
        self._presenter = presenter
        self._recorders = recorders
        self._segments = segments

    def handlers(self) -> dict[str, Handler]:
        """Method name -> handler."""
        return {"Subscribe": self.subscribe}

    async def subscribe(self, call: Call) -> Stream:
        feed = Feed(call, self._store, self._clock, self._presenter, self._segments)
        with self._hub.subscribe(with_streamers=feed.with_streamers) as subscription:
            for recorder in await self._present(call):
                async for item in feed.of_recorder(recorder, is_present=True):
                    yield item
            for each in list(self._watches.watched.values()):
                async for item in feed.of_streamer(StreamerNews(each)):
                    yield item
            while True:
                async for item in self._of(feed, await subscription.get()):
                    yield item

    def _of(self, feed: Feed, news: AnyNews) -> Stream:
        if isinstance(news, JobNews):
            return feed.of_job(news, self._recorders)
        if isinstance(news, StreamerNews):
            return feed.of_streamer(news)
        return feed.of_news(news)

    async def _present(self, call: Call) -> list[Recorder]:
        wanted = call.parameters.get("recording")
        known = self._recorders
        if wanted is None:
            return list(known.values())
        found = await self._store.find(wanted)
        return [known.get(found.recording.id, found)]


class Feed:
    """What one subscriber gets."""

    def __init__(
        self,
        call: Call,
        store: FeedStore,
        clock: Clock,
        presenter: Presenter,
        segments: Segments,
    ) -> None:
        given = call.parameters
        self._only: set[int] | None = None if given.get("recording") is None else set()
        self._streamer = given.get("streamer")
        self._topics = frozenset(given.get("topics") or DEFAULT_TOPICS)
        self._store = store
        self._clock = clock
        self._presenter = presenter
        self._segments = segments
        self._told: dict[int, Recorder] = {}
        self._streams: dict[int, bool] = {}

    @property
    def with_streamers(self) -> bool:
        """Whether anything about streamers is wanted."""
        return self._only is None and "streamers" in self._topics

    async def of_recorder(self, recorder: Recorder, *, is_present: bool = False) -> Stream:
        """A recorder as it is now."""
        if is_present and self._only is not None:
            self._only.add(recorder.recording.id)
        if not self._wants(recorder):
            return
        view: View = {}
        recorder = await self._presenter.fresh(recorder)
        if "recordings" in self._topics:
            view["recording"] = self._presenter.known(recorder)
        if "segments" in self._topics and (changed := list(self._changed(recorder))):
            view["segments"] = [self._segments.view(recorder, index) for index in changed]
        stream = await self._stream(recorder) if "streams" in self._topics else None
        if stream is not None:
            view["stream"] = stream
        self._remember(recorder)
        if view:
            yield view

    async def of_news(self, news: News) -> Stream:
        """Something was told, or a recorder has changed."""
        if not self._wants(news.recorder):
            return
        if news.told is None:
            async for item in self.of_recorder(news.recorder):
                yield item
            return
        if "events" in self._topics:
            view: View = {"event": event_view(news)}
            if "recordings" in self._topics:
                view["recording"] = await self._presenter.recording(news.recorder)
            yield view

    async def of_job(self, news: JobNews, known: Mapping[int, Recorder]) -> Stream:
        """A job has begun or ended."""
        recorder = known.get(news.job.recording)
        if recorder is None or not self._wants(recorder):
            return
        view: View = {}
        if "jobs" in self._topics:
            view["job"] = job_view(news.job)
        if "seams" in self._topics and str(news.job.status) == "done":
            view["seams"] = [seam_view(seam) for seam in await self._store.seams(news.job.recording)]
        if view:
            yield view

    async def of_streamer(self, news: StreamerNews) -> Stream:
        """Somebody is watched, or is seen to be in another state."""
        if self.with_streamers and self._streamer in (None, news.watched.streamer.name):
            yield {"streamer": streamer_view(news.watched, self._clock.now(), "removed" if news.is_gone else None)}

    def _wants(self, recorder: Recorder) -> bool:
        is_wanted = self._only is None or recorder.recording.id in self._only
        return is_wanted and self._streamer in (None, recorder.recording.streamer)

    def _changed(self, recorder: Recorder) -> Iterator[int]:
        """The segments that are not as they were when this subscriber was last told."""
        before = self._told.get(recorder.recording.id)
        known = {segment.number: segment for segment in before.segments} if before else {}
        for index, segment in enumerate(recorder.segments):
            old = known.get(segment.number)
            if old is None or (old.phase, old.size, old.cause) != (segment.phase, segment.size, segment.cause):
                yield index

    async def _stream(self, recorder: Recorder) -> View | None:
        """Its stream, if it is new to this subscriber or has ended since."""
        number, is_over = recorder.recording.stream, recorder.state.is_final
        if self._streams.get(number) == is_over:
            return None
        row = await self._store.stream(number)
        if is_over:
            self._streams.pop(number, None)
        else:
            self._streams[number] = is_over
        return None if row is None else stream_view(row)

    def _remember(self, recorder: Recorder) -> None:
        """What is over is forgotten: a subscription may last for years."""
        if recorder.state.is_final:
            self._told.pop(recorder.recording.id, None)
        else:
            self._told[recorder.recording.id] = recorder
