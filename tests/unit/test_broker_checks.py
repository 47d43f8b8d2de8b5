# SPDX-License-Identifier: GPL-3.0-or-later
"""What the broker allows, and what a hostile caller would like it to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.base.networks import GUARDED, parse_network
from streamvaultd.brokerd import checks
from streamvaultd.brokerd.systemd_manager import scope_properties
from streamvaultd.core import names
from streamvaultd.errors import (
    InvalidParameter,
    LimitRefused,
    NameRefused,
    PeerRefused,
    ProcessRefused,
    VaultError,
)

UID = 996
PID = 4711
NO_LIMITS: dict[str, int | None] = {}


def test_only_the_service_user_is_served() -> None:
    checks.check_peer(UID, UID, is_in_scope=False)
    for uid, is_in_scope in ((0, False), (1000, False), (-1, False), (UID, True)):
        with pytest.raises(PeerRefused):
            checks.check_peer(uid, UID, is_in_scope=is_in_scope)


@given(st.integers(1, 10**10 - 1), st.integers(1, 10**6 - 1))
def test_every_name_of_ours_has_its_slice(number: int, segment: int) -> None:
    assert checks.slice_of(names.Run(number, segment).unit) == names.RECORDINGS_SLICE
    assert checks.slice_of(names.Job(number).unit) == names.JOBS_SLICE


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ssh.service",
        "streamvaultd.service",
        "streamvault-1-001.service",
        "streamvault-recordings.slice",
        "streamvault-1-001.scope\n",
        "\nstreamvault-1-001.scope",
        "streamvault-1-001.scope\0",
        "streamvault-1-001.scope/../x",
        "streamvault-0-001.scope",
        "streamvault-01-001.scope",
        "streamvault-1-01.scope",
        "streamvault--1-001.scope",
        "streamvault-1-001-1.scope",
        "streamvault-٣-001.scope",
        "streamvault-1-00٣.scope",
        "streamvault-job-.scope",
        "streamvault-job-x.scope",
        "streamvault-job-1.scope.scope",
        "Streamvault-1-001.scope",
        "streamvault-" + "1" * 300 + "-001.scope",
        "init.scope",
    ],
)
def test_no_other_name_is(name: str) -> None:
    with pytest.raises(NameRefused) as caught:
        checks.slice_of(name)
    assert len(str(caught.value.fields["value"])) <= 100


@given(st.text())
def test_no_text_gets_past_the_name(name: str) -> None:
    try:
        checks.slice_of(name)
    except NameRefused:
        return
    assert names.Run.of(name) or names.Job.of(name)


def test_absent_limits_have_defaults() -> None:
    assert checks.check_limits(NO_LIMITS) == checks.Bounds(256 << 20, 64, None)
    assert checks.check_limits({"memoryMax": None, "tasksMax": 7}) == checks.Bounds(256 << 20, 7, None)


@pytest.mark.parametrize("value", [32 << 20, 64 << 30])
def test_limits_at_their_bounds_pass(value: int) -> None:
    assert checks.check_limits({"memoryMax": value}).memory_max == value


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("memoryMax", 0),
        ("memoryMax", (32 << 20) - 1),
        ("memoryMax", (64 << 30) + 1),
        ("memoryMax", -1),
        ("memoryMax", (1 << 63) - 1),
        ("tasksMax", 0),
        ("tasksMax", 4097),
        ("runtimeMaxUSec", 0),
        ("runtimeMaxUSec", 59_999_999),
        ("runtimeMaxUSec", (1 << 63) - 1),
    ],
)
def test_limits_beyond_their_bounds_are_refused(limit: str, value: int) -> None:
    with pytest.raises(LimitRefused) as caught:
        checks.check_limits({limit: value})
    assert caught.value.fields["limit"] == limit


@pytest.mark.parametrize("text", ["Recording 7 of 'alice', segment 1", "ü", "x" * 200, "100 %"])
def test_descriptions_for_people_pass(text: str) -> None:
    assert checks.check_description(text) == text


@pytest.mark.parametrize("text", ["", "x" * 201, "a\nExecStart=b", "a\0b", "\x1b[2J", "a\u2028b", "\u202e"])
def test_other_descriptions_do_not(text: str) -> None:
    with pytest.raises(InvalidParameter):
        checks.check_description(text)


@pytest.mark.parametrize("path", [None, "/", "/srv", "/var/lib/streamvaultd/recordings", "/srv/ä b/…x", "/a/..b"])
def test_paths_in_their_shortest_spelling_pass(path: str | None) -> None:
    assert checks.check_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "srv", "./srv", "/srv/", "//srv", "/srv//x", "/srv/./x", "/srv/../etc", "/..", "/.", "/a\nb", "/a\0",
             "/" + "x" * 4095, "/" + "ä" * 2048]
)  # fmt: skip
def test_other_paths_do_not(path: str) -> None:
    with pytest.raises(InvalidParameter):
        checks.check_path(path)


def test_a_call_carries_exactly_one_descriptor() -> None:
    assert checks.check_fds(0, [9]) == 9
    for index, fds in ((0, []), (1, [9]), (-1, [9]), (0, [9, 10]), (1, [9, 10])):
        with pytest.raises(ProcessRefused):
            checks.check_fds(index, fds)


FDINFO = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t4042\nPid:\t{pid}\nNSpid:\t{pid}\t12\n"


def test_a_pidfd_names_its_process() -> None:
    assert checks.parse_pidfd(FDINFO.format(pid=PID)) == PID


@pytest.mark.parametrize(
    "fdinfo",
    [
        FDINFO.format(pid=-1),
        FDINFO.format(pid=0),
        FDINFO.format(pid=1),
        "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1\n",
        "pos:\t0\nNSpid:\t4711\n",
        "pos:\t0\n Pid:\t4711\n",
        "",
    ],
)
def test_other_descriptors_name_none(fdinfo: str) -> None:
    with pytest.raises(ProcessRefused):
        checks.parse_pidfd(fdinfo)


def status(uids: str = f"{UID}\t{UID}\t{UID}\t{UID}", tgid: int = PID, name: str = "python3") -> str:
    return f"Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{tgid}\nNgid:\t0\nPid:\t{PID}\nUid:\t{uids}\n"


def test_a_process_of_the_service_user_passes() -> None:
    checks.check_status(status(), PID, UID)


@pytest.mark.parametrize(
    "text",
    [
        status("0\t0\t0\t0"),
        status(f"{UID}\t0\t{UID}\t{UID}"),
        status(f"{UID}\t{UID}\t0\t{UID}"),
        status(f"{UID}\t{UID}\t{UID}\t1000"),
        status(f"1{UID}\t1{UID}\t1{UID}\t1{UID}"),
        status(tgid=PID - 1),
        status("", name=f"x\\nUid:\\t{UID}"),  # the kernel escapes a newline in a name
        "",
    ],
)
def test_other_processes_do_not(text: str) -> None:
    with pytest.raises(ProcessRefused):
        checks.check_status(text, PID, UID)


@pytest.mark.parametrize(
    "cgroup",
    [
        "0::/system.slice/streamvaultd.service\n",
        "0::/streamvaultd.service\n",
        "0::/streamvault.slice/streamvault-daemon.slice/streamvaultd.service/sub/group\n",
        "9:name=systemd:/\n4:memory:/user.slice\n0::/system.slice/streamvaultd.service\n",
    ],
)
def test_processes_in_the_daemons_unit_pass(cgroup: str) -> None:
    checks.check_cgroup(cgroup, PID)


@pytest.mark.parametrize(
    "cgroup",
    [
        "",
        "0::/\n",
        "0::/system.slice/ssh.service\n",
        "0::/system.slice/xstreamvaultd.service\n",
        "0::/system.slice/streamvaultd.service.d\n",
        "0::/system.slice/streamvaultdXservice\n",
        "0::/streamvault.slice/streamvault-recordings.slice/streamvault-1-001.scope\n",
        "0::/user.slice/user-996.slice/user@996.service/app.slice/streamvaultd.service\n",
        "0::/user.slice/user-996.slice/session-1.scope/system.slice/streamvaultd.service\n",
        "0::/../system.slice/streamvaultd.service\n",
        "4:memory:/system.slice/streamvaultd.service\n0::/user.slice\n",
        "1:name=systemd:/system.slice/streamvaultd.service\n",
    ],
)
def test_processes_elsewhere_do_not(cgroup: str) -> None:
    with pytest.raises(ProcessRefused):
        checks.check_cgroup(cgroup, PID)


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_the_parsers(fdinfo: str, proc_status: str, cgroup: str) -> None:
    for parse in (
        lambda: checks.parse_pidfd(fdinfo),
        lambda: checks.check_status(proc_status, PID, UID),
        lambda: checks.check_cgroup(cgroup, PID),
        lambda: checks.check_path(fdinfo),
        lambda: checks.check_description(cgroup),
    ):
        try:
            parse()
        except VaultError:
            continue


def properties_of(slice_name: str, *, runtime: int | None = None, mounts_for: str | None = None) -> dict[str, Any]:
    reachable = (parse_network("127.0.0.1/32"),)
    bounds = checks.Bounds(memory_max=1 << 28, tasks_max=9, runtime_max_usec=runtime, reachable=reachable)
    found = scope_properties(slice_name=slice_name, description="d", bounds=bounds, mounts_for=mounts_for)
    return {name: variant.value for name, variant in found}


def test_networks_that_a_scope_may_reach_are_networks_and_few() -> None:
    assert checks.check_limits({"reachable": ["127.0.0.53", "fe80::/10"]}).reachable == (
        parse_network("127.0.0.53/32"), parse_network("fe80::/10"),
    )  # fmt: skip
    with pytest.raises(LimitRefused):
        checks.check_limits({"reachable": ["127.0.0.1"] * (checks.REACHABLE_MAX + 1)})
    for text in ("", "any", "127.0.0.1/8", "localhost", "127.0.0.1 ", "300.1.1.1", "::1/129"):
        with pytest.raises(InvalidParameter):
            checks.check_limits({"reachable": [text]})


def test_a_segments_scope_has_these_properties_and_no_other() -> None:
    properties = properties_of(names.RECORDINGS_SLICE, runtime=60_000_000, mounts_for="/srv")
    assert properties.pop("IPAddressAllow") == [[2, bytes([127, 0, 0, 1]), 32]]
    closed = properties.pop("IPAddressDeny")
    assert [2, bytes([127, 0, 0, 0]), 8] in closed
    assert [10, bytes([0xFE, 0x80, *[0] * 14]), 10] in closed
    assert len(closed) == len(GUARDED)
    assert properties == {
        "Description": "d",
        "Documentation": ["man:streamvaultd(8)"],
        "Slice": "streamvault-recordings.slice",
        "After": ["streamvaultd.service", "network.target"],
        "MemoryMax": 1 << 28,
        "MemorySwapMax": 0,
        "OOMPolicy": "stop",
        "TasksMax": 9,
        "KillMode": "control-group",
        "KillSignal": 15,
        "SendSIGKILL": True,
        "TimeoutStopUSec": 10_000_000,
        "RuntimeMaxUSec": 60_000_000,
        "RequiresMountsFor": ["/srv"],
    }


def test_a_jobs_scope_yields() -> None:
    properties = properties_of(names.JOBS_SLICE)
    assert properties["Slice"] == "streamvault-jobs.slice"
    assert (properties["CPUWeight"], properties["IOWeight"]) == (20, 20)
    assert properties["IPAddressDeny"] == [[2, bytes(4), 0], [10, bytes(16), 0]]
    assert "IPAddressAllow" not in properties
    assert not {"RuntimeMaxUSec", "RequiresMountsFor"} & set(properties)


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/var/lib", None),
        ("/srv", "/srv"),
        ("/srv/media/a", "/srv/media"),
        ("/srv2", None),
        ("/srv/my-disk/a", "/srv/my-disk"),
        ("/mnt/away/a", None),
    ],
)
def test_a_scope_requires_the_mount_that_is_there(path: str, point: str | None) -> None:
    units = ["-.mount", "srv.mount", "srv-media.mount", r"srv-my\x2ddisk.mount", "run-user-1000.mount"]
    assert checks.mount_above(path, units) == point


def test_a_job_that_uploads_has_the_networks_of_a_segment() -> None:
    bounds = checks.check_limits({"hasNetwork": True, "reachable": ["127.0.0.1"]})
    jobs, segments = (
        dict(scope_properties(slice_name=name, description="x", bounds=bounds, mounts_for=None))
        for name in (names.JOBS_SLICE, names.RECORDINGS_SLICE)
    )
    for name in ("IPAddressDeny", "IPAddressAllow"):
        assert jobs[name].value == segments[name].value
    assert checks.check_limits({"reachable": ["127.0.0.1"]}).has_network is False
