# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile source, and a streamlink that was taken over, on the installed package: nothing is reached (P13)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from streamvaultd.recording.streamlink.command import RECOMMENDED, config_text, parse_version
from tests.fakes import intruder
from tests.fakes.hostile import KINDS, hostile
from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.attacks import (
    BY_OWNERS,
    DEBIAN,
    HOARDER,
    NAME,
    PRIVATE,
    PROGRAMS,
    SOCKETS,
    USER,
    WRAPPER,
    Streamlink,
    asked_from,
    assert_used,
    has_media,
    journal_of,
    over_tls,
    print_table,
    record_all,
    recorded,
    run_alone,
    running_alone,
    side_by_side,
    taken_over,
    trusted,
)
from tests.integration.harness import Ctl
from tests.integration.test_main_job import RECORDINGS, settings, wait_state, wait_writing
from tests.testbed.box import Box

PLANTED = b"planted-" * 400
PLANTED_AT = "/var/lib/streamvaultd/secret"
HLS = [kind for kind in KINDS if kind.endswith(".m3u8")]
ELSEWHERE = "127.0.0.2"
"""Stands in for every address that is closed; the sources are on 127.0.0.1, which their URLs name."""
FORMS = ("ts", "fmp4", "aes", "separate")
OBEYED = {
    "debian": frozenset({"entry-m3u8", "redirect-m3u8", "map-m3u8", "base-mpd", "template-mpd", "own", "passwd"}),
    "newest": frozenset(),
}
"""Where a streamlink by itself hands out files of the machine that it runs on."""
GOES_ON = {
    "debian": frozenset({"entry-m3u8", "redirect-m3u8", "own", "passwd"}),
    "newest": frozenset({"redirect-m3u8"}),
}
"""Where it is kept from it, and records what is media all the same. The newest takes no playlist that names a file."""
SOON = '\n[streamlink.options]\nstream-timeout = "10"\n'
"""DASH waits so long for what it could not fetch."""


@pytest.fixture(scope="module", params=["debian", "newest"])
def streamlink(request: pytest.FixtureRequest, box: Box) -> Iterator[Streamlink]:
    """Debian's, and the newest, which is installed as people install it."""
    ctl = Ctl(box)
    told = ctl.json("streamlink", "status" if request.param == "debian" else "install", timeout=300)
    version = parse_version(box.run([told["command"], "--version"]).stdout)
    assert version is not None
    assert version == DEBIAN if request.param == "debian" else version >= RECOMMENDED
    used = Streamlink(version, told["command"])
    assert_used(ctl, used)
    yield used
    assert_used(ctl, used)
    if request.param == "newest":
        box.run(["rm", "-r", f"{PRIVATE}/current", f"{PRIVATE}/versions"])
        ctl("reload")


@pytest.fixture(scope="module")
def media(source: LiveSource) -> bytes:
    source.channel("hostile", {"elapsed": 10.0})
    return source.channels["hostile"].media.segment(0).read_bytes()


@pytest.fixture
def planted(box: Box) -> Iterator[None]:
    """A file that the daemon's user can read."""
    box.path(PLANTED_AT).write_bytes(PLANTED)
    box.run(["chown", "_streamvault:_streamvault", PLANTED_AT])
    yield
    box.run(["rm", PLANTED_AT])


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("planted")
def test_no_file_gets_into_a_recording(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """Debian's streamlink obeys by itself, as the control shows; the newest where OBEYED says.

    What Landlock lets a segment read is the system's, and the configuration of its own streamlink, with secrets.
    """
    own = "\n#EXTINF:2,\n".join(f"file:///proc/self/fd/{fd}" for fd in range(3, 16))
    with hostile(media) as served, settings(box, SOON):
        wishes = {kind.replace(".", "-"): (kind, f"file://{PLANTED_AT}") for kind in KINDS}
        wishes |= {"own": ("entry.m3u8", own), "passwd": ("entry.m3u8", "file:///etc/passwd")}
        http = {
            f"{kind.replace('.', '-')}-http": (kind, f"{served.url}/media") for kind in ("redirect.m3u8", "base.mpd")
        }
        urls = {f"{name}-{streamlink}": served.naming(*wish) for name, wish in (wishes | http).items()}
        plain = {name: served.naming(*wish) for name, wish in wishes.items()}
        plain["own"] = served.naming("entry.m3u8", "file:///proc/self/fd/9")
        with running_alone(box, streamlink, plain) as alone:
            record_all(box, ctl, urls)
    found = {name: recorded(box, f"{name}-{streamlink}") for name in (wishes | http)}
    there = {"own": b"its-own-options", "passwd": b"root:x:0:0"}
    reached = {name for name in wishes if there.get(name, b"planted-") in alone[name]}
    assert reached == OBEYED[str(streamlink)]
    for name in wishes:
        for text in (b"planted-", b"default-stream", b"root:x:0:0"):
            assert text not in found[name], name
    for name in GOES_ON[str(streamlink)]:
        assert media in found[name], f"{name}: what is media is recorded all the same"
    for name, count in (("redirect-m3u8-http", 3), ("base-mpd-http", 1)):
        assert media * count in found[name], name
    journal = box.run(["journalctl", "--no-pager", "--all"]).stdout
    why = side_by_side(box, (["streamvaultctl", "why", name] for name in urls))
    assert all(f"{kind.partition('.')[0]}" in why for kind in KINDS)
    assert "planted-planted" not in journal + why
    assert "root:x:0:0" not in journal + why


@pytest.mark.timeout(1500)
def test_a_source_leads_to_no_closed_address(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """The control is the same source where the settings allow the address."""
    for suffix, allow in (("closed", ""), ("open", f'[network]\nallow = ["{ELSEWHERE}"]\n')):
        with settings(box, allow), hostile(media) as served, hostile(media, ELSEWHERE) as closed:
            wishes = {kind: f"{closed.url}/of-{kind}" for kind in HLS}
            names = {kind: f"{kind.replace('.', '-')}-{suffix}-{streamlink}" for kind in HLS}
            record_all(box, ctl, {names[kind]: served.naming(kind, wishes[kind]) for kind in HLS})
            assert set(closed.asked) == ({f"/of-{kind}" for kind in HLS} if allow else set())
        if not allow:
            for kind in ("entry.m3u8", "redirect.m3u8", "map.m3u8"):
                assert media in recorded(box, names[kind]), kind


CONNECT = """
import socket, sys
sys.path[:0] = sys.argv[1:]
try:
    import streamvault_guard
except ModuleNotFoundError:
    pass
for address in ("127.0.0.1", "127.0.0.2"):
    with socket.socket() as out:
        out.settimeout(1)
        try:
            out.connect((address, 9))
        except OSError as error:
            print(type(error).__name__)
"""
GUARD = "/usr/lib/python3/dist-packages/streamvaultd/recording/streamlink/guard"


def test_a_closed_address_is_refused_at_once(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """By itself streamlink would wait for an answer, five times, and hold up all that comes after it."""
    ctl("record", source.url(channel), "--name", "refused")
    unit = ctl.segments("refused")[0]["unit"]
    group = box.run(["systemctl", "show", "--property=ControlGroup", "--value", unit]).stdout.strip()
    found = {}
    for guard in ("/nowhere", GUARD):
        enter = f'echo $$ >"/sys/fs/cgroup{group}/cgroup.procs" && python3 -I -c "$0" "$@"'
        found[guard] = box.run(["sh", "-c", enter, CONNECT, guard]).stdout.split()
    ctl("stop", "refused")
    assert found["/nowhere"] == ["ConnectionRefusedError", "TimeoutError"]
    assert found[GUARD] == ["ConnectionRefusedError", "PermissionError"]


@pytest.mark.timeout(1500)
def test_nor_does_a_proxy_of_this_host(box: Box, ctl: Ctl, media: bytes, streamlink: Streamlink) -> None:
    """Which would go anywhere by itself: it is not asked to."""
    with hostile(media) as served, hostile(media, ELSEWHERE) as closed, hostile(media) as proxy:
        url = served.naming("entry.m3u8", f"{closed.url}/behind")
        with settings(box, f'[streamlink.options]\nhttp-proxy = "{proxy.url}"\n'):
            record_all(box, ctl, {f"by-proxy-{streamlink}": url})
        assert f"{served.url}/media" in proxy.asked
        assert [path for path in proxy.asked if closed.url in path] == []
        plain = f"{USER} timeout 20 {streamlink.command} --http-proxy={proxy.url} --stdout"
        box.run(["sh", "-c", f"{plain} '{url}' best >/dev/null || true"], timeout=60)
        assert f"{closed.url}/behind" in proxy.asked


@pytest.mark.timeout(1500)
def test_names_and_certificates_work_confined(box: Box, ctl: Ctl, tmp_path: Path, streamlink: Streamlink) -> None:
    """A name of /etc/hosts, a certificate of the box's own authority, and ffmpeg, which muxes; byte for byte."""
    with ExitStack() as stack:
        stack.enter_context(trusted(box, tmp_path, streamlink))
        sources = {kind: stack.enter_context(LiveSource(MediaSpec(kind=kind, seconds=20))) for kind in FORMS}
        port = stack.enter_context(over_tls(sources["separate"], tmp_path))
        urls = {}
        for kind, source in sources.items():
            source.channel("form", {"elapsed": 12.0})
            source.control("form", end=True)
            urls[f"{kind}-{streamlink}"] = source.url("form")
        urls[f"separate-{streamlink}"] = f"https://{NAME}:{port}/form/master.m3u8"
        with settings(box, '[network]\nallow = ["127.0.0.1"]\n'):
            record_all(box, ctl, urls)
        for name, url in urls.items():
            box.write_file(f"/run/{name}.conf", config_text(streamlink.version, url, "best"))
        plain = f"{USER} {streamlink.command} --stdout --config=/run"
        side_by_side(box, (["sh", "-c", f"{plain}/{name}.conf >/run/{name}.media"] for name in urls))
    for name in urls:
        expected = box.path(f"/run/{name}.media").read_bytes()
        assert len(expected) > 100_000
        assert box.path(ctl.recording(name)["runtime"]["path"]).read_bytes() == expected, name


def test_a_streamlink_that_was_taken_over_reaches_nothing(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, streamlink: Streamlink
) -> None:
    """The control is the same program where nothing confines it; the table has both."""
    near, taken = f"neighbour-{streamlink}", f"taken-{streamlink}"
    ctl("record", source.url(channel), "--name", near)
    neighbour = ctl.segments(near)[0]
    daemon = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd.service"]).stdout.strip()
    folder = box.path(PROGRAMS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "intruder.py").write_bytes(Path(intruder.__file__).read_bytes())
    (manifest,) = box.run(["find", f"{RECORDINGS}/{near}", "-name", ".stream_*.json"]).stdout.split()
    targets = {
        "secrets": [
            "/var/lib/streamvaultd/streamvaultd.sqlite", neighbour["path"], manifest,
            "/etc/streamvaultd/conf.d/test.toml", "/run/credentials/streamvaultd.service", "/etc/shadow",
            journal_of(box, neighbour["pid"]),
        ],
        "folder": "/var/lib/streamvaultd", "victims": [daemon, str(neighbour["pid"])], "own": "", "sockets": SOCKETS,
    }  # fmt: skip
    (folder / "targets.json").write_text(json.dumps(targets))
    with taken_over(box, ctl, streamlink, WRAPPER):
        ctl("record", source.url(channel), "--name", taken, check=False)
        segment = ctl.segments(taken)[0]["path"]
        box.wait_for(partial(has_media, box, segment), "it has tried everything", timeout=60)
        rounds = json.loads(box.path(segment).read_bytes())
        assert len(rounds) == len(targets["secrets"]) + 2
        alone = run_alone(box)
        print_table(alone, rounds)
        for results in rounds:
            assert results.keys() == alone.keys()
            assert sorted(attempt for attempt, result in results.items() if result == "reached") == []
        assert {attempt for attempt, result in alone.items() if result != "reached"} == BY_OWNERS
        lingers = ["pgrep", "--full", "--count", "^intruder-lingers"]
        assert box.run(lingers).stdout.strip() == "1"
        ctl("stop", taken, "--wait")
        assert box.run(lingers, check=False).stdout.strip() == "0"
    assert ctl.state(near) == "recording"
    source.control(channel, end=True)
    wait_state(box, ctl, near, "completed")


def test_one_that_hoards_descriptors_keeps_nobody_from_recording(
    box: Box, ctl: Ctl, source: LiveSource, channel: str, streamlink: Streamlink
) -> None:
    """What is under way over Unix sockets counts by user, and the daemon passes descriptors at each start."""
    hoarder, beside = f"hoarder-{streamlink}", f"beside-{streamlink}"
    with taken_over(box, ctl, streamlink, HOARDER):
        ctl("record", source.url(channel), "--name", hoarder)
    number = ctl.recording(hoarder)["id"]
    told = box.wait_journal(f"STREAMVAULT_RECORDING={number}", until=lambda entry: "are under way" in entry["MESSAGE"])
    ctl("record", source.url(channel), "--name", beside)
    assert [segment["number"] for segment in ctl.segments(beside)] == [1]
    assert ctl.state(hoarder) == "recording"
    assert "Too many references" in told["MESSAGE"]
    source.control(channel, end=True)
    side_by_side(box, (["streamvaultctl", "stop", name, "--wait"] for name in (hoarder, beside)))


def test_what_a_scope_says_counts_for_itself_alone(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    """As a browser could that was taken over: it has Unix sockets. The control is another process of the same user."""
    for name in ("victim", "speaker"):
        ctl("record", source.url(f"{channel}-{name}"), "--name", name)
        wait_writing(box, ctl, name, 1)
    segments = {name: ctl.segments(name)[0] for name in ("victim", "speaker")}
    group = box.run(
        ["systemctl", "show", "--property=ControlGroup", "--value", segments["speaker"]["unit"]]
    ).stdout.strip()
    lines = [
        f"SYSLOG_IDENTIFIER=streamlink\nPRIORITY=3\nSTREAMVAULT_RECORDING={ctl.recording(name)['id']}\n"
        "STREAMVAULT_SEGMENT=1\nMESSAGE=error stream.hls: Failed to fetch segment 3: timed out\n"
        for name in ("victim", "speaker")
    ]
    oom = f"_PID=1\nUNIT={segments['victim']['unit']}\nMESSAGE_ID=fe6faa94e7774663a0da52717891d8ef\nMESSAGE=killed\n"
    with asked_from(box, "/init.scope") as errors:
        assert errors == ["", "NoSuchUnit"]
    with asked_from(box, group, oom, *lines) as errors:
        assert errors == ["PermissionDenied", "PeerRefused"]
        box.wait_for(lambda: len(ctl.segments("speaker")) > 1, "its own line is believed", timeout=20)
    assert len(ctl.segments("victim")) == 1
    for name in ("victim", "speaker"):
        source.control(f"{channel}-{name}", end=True)
        wait_state(box, ctl, name, "completed")
    assert ctl.segments("victim")[0]["cause"] == "source-ended"


def test_nothing_is_missing_on_this_kernel(ctl: Ctl) -> None:
    assert ctl.json("status")["unconfined"] == []
