# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl's commands about streamers against a scripted daemon."""

from __future__ import annotations

import json
from typing import Any

from streamvaultd.errors import NoSuchStreamer, NotificationFailed, StreamerReadOnly
from tests.fakes.ctl import NOW, FakeDaemon, at, one, run

STATUS: dict[str, Any] = {"mistakes": []}
EMPTY = "0 streamers listed, 0 live. 'streamvaultctl add URL' adds one.\n"


def streamer(name: str = "alice", state: str = "offline", **runtime: Any) -> dict[str, Any]:
    return {
        "name": name,
        "context": {"url": f"https://site.example/{name}", "file": f"/f/{name}.toml", "own": True, "enabled": True},
        "runtime": {"state": state, "since": at(NOW), "failures": 0, **runtime},
    }


def test_streamers() -> None:
    every = [
        streamer("alice", "recording", recording=348, title="A title\x1b[31m", siteId="1"),
        streamer("bob", "trouble", detail="no such host", trouble="network"),
    ]
    ran = run(FakeDaemon().on("ListStreamers", {"streamers": every}).on("GetStatus", STATUS), "streamers")
    assert ran.out == (
        "STREAMER  STATE      RECORDING  URL                         ABOUT\n"
        "alice     recording        348  https://site.example/alice  A title\\x1b[31m\n"
        "bob       trouble            -  https://site.example/bob    no such host\n"
        "\n"
        "2 streamers listed, 1 live.\n"
    )


def test_no_streamers() -> None:
    daemon = FakeDaemon().on("ListStreamers", {"streamers": []}).on("GetStatus", STATUS)
    assert run(daemon, "streamers").out == EMPTY


def test_a_streamer_whose_file_has_mistakes_has_a_row() -> None:
    wrong = {"file": "/etc/streamvaultd/streamers.d/cecil.toml", "section": "streamer", "key": "urll", "value": "1"}
    known = {"file": "/var/lib/streamvaultd/streamers.d/alice.toml", "why": "it is no TOML"}
    other = {"file": "/etc/streamvaultd/streamvaultd.toml", "why": "it is no TOML"}
    mistakes = [{**wrong, "why": "no such setting"}, {**wrong, "why": "another one"}, known, other]
    daemon = FakeDaemon().on("ListStreamers", {"streamers": [streamer()]}).on("GetStatus", {"mistakes": mistakes})
    rows = run(daemon, "--no-legend", "streamers").out.splitlines()
    assert [row.split()[:2] for row in rows] == [["alice", "offline"], ["cecil", "refused"]]
    assert rows[1].endswith("[streamer] urll = 1: no such setting")


def test_add_and_what_is_asked_for() -> None:
    daemon = FakeDaemon().on("AddStreamer", {"streamer": streamer()})
    ran = run(daemon, "add", "https://site.example/alice", "--quality", "720p,best")
    assert (ran.code, ran.out, ran.err) == (0, "", "'alice' is watched.\n")
    assert daemon.calls == [("AddStreamer", {"url": "https://site.example/alice", "quality": "720p,best"})]


OLD = "streamlink 7.3.0 is older than 8.6.0: 'apt install …' gets one without"


def test_an_old_streamlink_is_told_when_it_is_to_be_used() -> None:
    listed = run(
        FakeDaemon()
        .on("ListStreamers", {"streamers": []})
        .on("GetStatus", {"streamlinkTrouble": OLD, "mistakes": []}),
        "streamers",
    )
    assert listed.out == f"{EMPTY}{OLD}\n"
    added = run(
        FakeDaemon().on("AddStreamer", {"streamer": streamer(), "warning": OLD}), "add", "https://x.example/alice"
    )
    assert (added.code, added.err) == (0, f"{OLD}\n'alice' is watched.\n")
    twice = ({**one("starting"), "warning": OLD}, {**one(hasMedia=True), "warning": OLD})
    recorded = run(FakeDaemon().on("Record", *twice), "record", "https://www.twitch.tv/demo")
    assert recorded.err.count(OLD) == 1
    recorded = run(FakeDaemon().on("Record", twice[0]), "record", "https://www.twitch.tv/demo", "--no-block")
    assert recorded.err.startswith(f"{OLD}\n")


def test_enable_disable_remove() -> None:
    daemon = (
        FakeDaemon().on("EnableStreamer", {"streamer": streamer()}).on("DisableStreamer", {"streamer": streamer()})
    )
    daemon.on("RemoveStreamer", {})
    assert run(daemon, "enable", "alice").err == "'alice' is watched.\n"
    assert run(daemon, "disable", "alice").err == "'alice' is not watched for now.\n"
    assert run(daemon, "remove", "alice").err == "'alice' is not watched any more.\n"
    assert [parameters for _, parameters in daemon.calls] == [{"streamer": "alice"}] * 3


def test_probe_tells_the_answer() -> None:
    daemon = FakeDaemon().on("ProbeStreamer", {"streamer": streamer(state="trouble", detail="no such host")})
    assert run(daemon, "probe", "alice").out == "alice is trouble: no such host\n"
    assert json.loads(run(daemon, "probe", "alice", "--json=short").out)["streamer"]["name"] == "alice"


def test_notify_tells_that_it_was_sent_or_why_not() -> None:
    daemon = FakeDaemon().on("Notify", {})
    ran = run(daemon, "notify", "phone")
    assert (ran.code, ran.out, ran.err) == (0, "", "A message was sent to 'phone'.\n")
    assert daemon.calls == [("Notify", {"target": "phone"})]
    ran = run(FakeDaemon().on("Notify", NotificationFailed(target="phone", why="error 500")), "notify", "phone")
    assert ran.code == 1
    assert "cannot notify 'phone': error 500" in ran.err
    assert "streamvaultd.toml(5)" in ran.err


def test_errors_say_what_to_do() -> None:
    ran = run(FakeDaemon().on("RemoveStreamer", NoSuchStreamer(streamer="zoe")), "remove", "zoe")
    assert (ran.code, ran.out) == (4, "")
    assert "cannot find a streamer called 'zoe'" in ran.err
    refused = StreamerReadOnly(streamer="zoe", file="/etc/streamvaultd/streamers.d/zoe.toml")
    ran = run(FakeDaemon().on("DisableStreamer", refused), "disable", "zoe")
    assert ran.code == 1
    assert "systemctl reload streamvaultd" in ran.err
