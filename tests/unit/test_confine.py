# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of system calls, run as the kernel would run it; and what each version of Landlock is asked for."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

import pytest

from streamvaultd.scopes import confine

MACHINES = ["x86_64", "aarch64"]
UNIX, INET, INET6, PACKET = 1, 2, 10, 17
KOBJECT_UEVENT, CONNECTOR = 15, 11
NEWUSER, THREAD = 0x10000000, 0x003D0F00
"""A new user namespace; the flags by which the C library makes a thread."""


def verdict(machine: str, number: int, *arguments: int, network: bool = True, architecture: int | None = None) -> int:
    """What the filter says about a call: 0, or the error it is refused with."""
    program = confine.filter_of(machine, has_network=network)
    found = confine.ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("=IIQ6Q", number, found, 0, *arguments, *([0] * (6 - len(arguments))))
    at, word = 0, 0
    while True:
        operation, is_true, is_false, value = program[at]
        at += 1
        match operation:
            case confine.LOAD_WORD:
                word = int.from_bytes(data[value : value + 4], "little")
            case confine.JUMP_EQUAL:
                at += is_true if word == value else is_false
            case confine.JUMP_AT_LEAST:
                at += is_true if word >= value else is_false
            case confine.JUMP_SET:
                at += is_true if word & value else is_false
            case confine.RETURN:
                return 0 if value == confine.ALLOW else value & 0xFFFF
            case _:
                raise AssertionError(operation)


@pytest.fixture(name="column", params=MACHINES)
def _column(request: pytest.FixtureRequest) -> tuple[str, int]:
    return request.param, MACHINES.index(request.param)


def test_every_call_in_the_table_is_refused_and_what_programs_need_is_not(column: tuple[str, int]) -> None:
    machine, at = column
    for name, numbers in confine.REFUSED.items():
        number = numbers[at]
        assert number is None or verdict(machine, number) == errno.EPERM, name
    needed = {"x86_64": (0, 1, 9, 53, 57, 59, 61, 62, 257), "aarch64": (56, 57, 63, 64, 129, 199, 221, 222, 260)}
    for number in needed[machine]:  # read, write, mmap, socketpair, fork, execve, wait4, kill, openat
        assert verdict(machine, number) == 0, number


def test_only_sockets_of_the_internet_and_of_routing_are_made(column: tuple[str, int]) -> None:
    machine, at = column
    call = confine.SOCKET[at]
    assert [verdict(machine, call, family) for family in (INET, INET6)] == [0, 0]
    assert verdict(machine, call, confine.NETLINK, 3, confine.NETLINK_ROUTE) == 0
    for family, protocol in ((UNIX, 0), (PACKET, 0), (confine.NETLINK, KOBJECT_UEVENT), (confine.NETLINK, CONNECTOR)):
        assert verdict(machine, call, family, 3, protocol) == errno.EAFNOSUPPORT, (family, protocol)


def test_without_a_network_there_is_no_socket_at_all(column: tuple[str, int]) -> None:
    machine, at = column
    for family in (UNIX, INET, INET6, confine.NETLINK):
        assert verdict(machine, confine.SOCKET[at], family, network=False) == errno.EAFNOSUPPORT


def test_threads_are_made_and_namespaces_are_not(column: tuple[str, int]) -> None:
    machine, at = column
    assert verdict(machine, confine.CLONE[at], THREAD) == 0
    for flag in (NEWUSER, 0x00020000, 0x40000000, 0x20000000, 0x02000000):
        assert verdict(machine, confine.CLONE[at], THREAD | flag) == errno.EPERM, hex(flag)
    assert verdict(machine, confine.CLONE3[at]) == errno.ENOSYS


def test_a_segment_adds_to_its_file_and_changes_nothing_of_it(column: tuple[str, int]) -> None:
    machine, at = column
    for name, numbers in confine.SIZED.items():
        number = numbers[at]
        assert number is not None
        assert (verdict(machine, number), verdict(machine, number, network=False)) == (errno.EPERM, 0), name
    call = confine.FCNTL[at]
    for command in (fcntl.F_GETFL, fcntl.F_SETFD, fcntl.F_DUPFD_CLOEXEC):
        assert verdict(machine, call, 1, command, 0) == 0
    assert verdict(machine, call, 1, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK) == 0
    for flags in (0, os.O_NONBLOCK):
        assert verdict(machine, call, 1, fcntl.F_SETFL, flags) == errno.EPERM
        assert verdict(machine, call, 1, fcntl.F_SETFL, flags, network=False) == 0


def test_limits_are_its_own(column: tuple[str, int]) -> None:
    machine, at = column
    assert verdict(machine, confine.PRLIMIT[at], 0) == 0
    assert verdict(machine, confine.PRLIMIT[at], 4242) == errno.EPERM


def test_no_text_is_typed_into_a_terminal(column: tuple[str, int]) -> None:
    machine, at = column
    assert verdict(machine, confine.IOCTL[at], 0, 0x5401) == 0  # TCGETS
    for request in (confine.TIOCSTI, confine.TIOCLINUX):
        assert verdict(machine, confine.IOCTL[at], 0, request) == errno.EPERM


def test_calls_of_another_architecture_are_refused() -> None:
    assert verdict("x86_64", 0, architecture=0x40000003) == errno.EPERM  # i386, by int 0x80
    assert verdict("x86_64", confine.X32 | 1) == errno.ENOSYS


@pytest.mark.parametrize(("abi", "size"), [(1, 8), (3, 8), (4, 16), (5, 16), (6, 24), (9, 24)])
def test_a_kernel_is_asked_for_what_it_knows(abi: int, size: int) -> None:
    attribute = confine.ruleset_attribute(abi, confine.rights(abi))
    assert len(attribute) == size
    files, _, scoped = struct.unpack("QQQ", attribute.ljust(24, b"\0"))
    assert files.bit_length() == {1: 13, 3: 15, 4: 15}.get(abi, 16)
    assert scoped == (3 if abi >= 6 else 0)
