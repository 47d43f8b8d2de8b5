# SPDX-License-Identifier: GPL-3.0-or-later
"""What the socket tells of those who are watched: in pages, one of them, and as it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from streamvaultd.core.model import Told
from streamvaultd.core.watching.model import Mood
from streamvaultd.errors import InvalidParameter, NoSuchStreamer, SubscriberTooSlow
from streamvaultd.reporting.hub import SUBSCRIBER_BACKLOG_MAX, Hub, JobNews, StreamerNews
from tests.component.socket_world import World, served, somebody
from tests.component.store_world import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    async with served(tmp_path) as found:
        yield found


async def test_streamers_come_in_pages_by_name(world: World) -> None:
    moods = {"alice": Mood.LIVE, "bob": Mood.OFFLINE, "carol": Mood.LIVE}
    world.watched.update({name: somebody(name, mood) for name, mood in reversed(moods.items())})
    page = await world.call("ListStreamers", limit=2)
    assert ([each["name"] for each in page["streamers"]], page["next"]) == (["alice", "bob"], "bob")
    page = await world.call("ListStreamers", limit=2, after="bob")
    assert ([each["name"] for each in page["streamers"]], page.get("next")) == (["carol"], None)
    page = await world.look("ListStreamers", state="live")
    assert [each["name"] for each in page["streamers"]] == ["alice", "carol"]
    assert (await world.look("GetStreamer", streamer="carol"))["streamer"] == page["streamers"][1]
    assert page["streamers"][1]["context"]["url"] == "https://example.org/carol?token=***"
    with pytest.raises(NoSuchStreamer):
        await world.look("GetStreamer", streamer="nobody")
    with pytest.raises(InvalidParameter):
        await world.call("ListStreamers", limit=0)


async def test_a_subscriber_is_told_who_is_watched_and_how_that_changes(world: World) -> None:
    world.watched.update({"alice": somebody("alice"), "bob": somebody("bob")})
    recorder = await start(world.store)
    world.manager.take(recorder)
    async with (
        world.subscribed(topics=["streamers"]) as everybody,
        world.subscribed(topics=["streamers"], streamer="bob") as of_bob,
        world.subscribed() as others,
    ):
        present = [(await everybody.next())["streamer"] for _ in range(2)]
        assert [each["name"] for each in present] == ["alice", "bob"]
        assert (await of_bob.next())["streamer"]["runtime"]["state"] == "offline"
        assert "recording" in await others.next()
        world.hub.publish(StreamerNews(somebody("carol")))
        world.hub.publish(StreamerNews(somebody("bob", Mood.LIVE)))
        world.hub.publish(StreamerNews(somebody("bob", Mood.LIVE), is_gone=True))
        told = [(await of_bob.next())["streamer"] for _ in range(2)]
        assert [each["runtime"]["state"] for each in told] == ["live", "removed"]
        assert (await everybody.next())["streamer"]["name"] == "carol"
        world.tell(recorder, Told("media-arrived", 5, "Segment 001 records", None, 1))
        assert "event" in await others.next()


async def test_news_of_streamers_take_no_room_where_nobody_wants_them() -> None:
    hub = Hub()
    with hub.subscribe() as without, hub.subscribe(with_streamers=True) as subscription:
        for number in range(SUBSCRIBER_BACKLOG_MAX + 1):
            hub.publish(StreamerNews(somebody(f"n{number}")))
        news = JobNews(cast("Any", None))
        hub.publish(news)
        assert await without.get() is news
        with pytest.raises(SubscriberTooSlow):
            await subscription.get()
