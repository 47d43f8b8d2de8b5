# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command in a scope may reach: Landlock and seccomp, set by the shim's child just before it executes.

Both need no privilege, only no_new_privs, and hold for everything that the command starts. Landlock (landlock(7))
lets it read the system's programs and libraries and what it was given, write its scratch folder, and signal, trace or
reach by an abstract socket nobody outside; seccomp (seccomp(2)) refuses what Landlock has no word for. Descriptors
that the command inherits are its own: to them no rule applies.

Standard library only, and in the child only: the shim itself imports nothing of this.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Final

# linux/landlock.h: the numbers are the same on all architectures
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
FIRST_RIGHTS = (1 << 13) - 1
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

SIGNALS_SINCE = 6
"""The ABI of Landlock that can hold back signals, and abstract sockets; Linux 6.12."""

SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin",
    "/etc/ssl", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/pki", "/usr/local/share/ca-certificates",
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/nsswitch.conf", "/etc/services",
    "/etc/protocols", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/passwd", "/etc/group",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/python3",
    "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf", "/run/resolvconf/resolv.conf",
    "/run/NetworkManager/resolv.conf",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/kernel", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
"""What every command may read and execute: programs, libraries, certificates, names of hosts, itself."""

WRITABLE_FILES = ("/dev/null",)

FOR_BROWSERS = (
    "/proc", "/sys", "/dev/shm",  # noqa: S108
    "/etc/chromium", "/etc/chromium.d", "/etc/chromium-browser", "/etc/opt",
    "/etc/firefox", "/etc/firefox-esr", "/etc/machine-id", "/etc/os-release", "/etc/lsb-release",
    "/etc/debian_version", "/etc/drirc", "/etc/glvnd", "/etc/vulkan", "/etc/X11",
)  # fmt: skip
"""What a browser reads besides. Of others' processes the kernel shows it nothing but names all the same."""

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

# linux/audit.h
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# asm/unistd_64.h and asm-generic/unistd.h; None where an architecture has no such call
SOCKET = (41, 198)
IOCTL = (16, 29)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # owners, modes, times and attributes are outside of Landlock: files of the same user could be locked away
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # the memory, descriptors and queues of others
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # ways around a filter, and parts of the kernel that no recording needs
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "bpf": (321, 280), "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setparam": (142, 118), "sched_setaffinity": (203, 122),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # what happens in folders of others is heard of without their being opened
    "inotify_init": (253, None), "inotify_init1": (294, 26), "inotify_add_watch": (254, 27),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294),
}  # fmt: skip
"""Refused with EPERM."""

SIZED: Final[dict[str, tuple[int | None, int | None]]] = {"ftruncate": (77, 46), "fallocate": (285, 47)}
"""Refused to a segment: its file, which it can only add to (O_APPEND), has as many bytes as were written, and none is
taken away. A size that nothing was written for would tell of a disk that fills up, and of a recording beside which no
older one has room."""

FCNTL, F_SETFL, O_APPEND = (72, 25), 4, 0x400
"""Nor may a segment take O_APPEND away. What is not to block is set by ioctl(FIONBIO), by Python and OpenSSL both."""

DESCRIPTORS, DESCRIPTORS_OF_MORE = 256, 4096
"""Open at a time in a process: of a segment; of a browser, or a job, which has no network.

As many may be under way over the sockets of all processes of its user (SCM_RIGHTS), which the daemon, with a higher
limit, can have too: it could pass none to systemd and to the broker, or start anything. And the scope's tasks together
have fewer sockets than the machine has ports to connect from.
"""

PRLIMIT = (302, 261)
"""Allowed for the process itself (PID 0), which getrlimit(2) of the C library uses."""

ADDRESS_FAMILIES = (2, 10)
"""AF_INET, AF_INET6; socketpair(2) is not refused."""

AF_UNIX = 1
"""A browser finds out by a socket of its own whether another one has its profile, and does not start without."""

NETLINK, NETLINK_ROUTE = 16, 0
"""Of netlink the C library needs what tells of addresses; others tell of every process and device of the machine."""

CLONE, CLONE3 = (56, 220), (435, 435)
NEW_NAMESPACES = 0x7E020080
"""linux/sched.h: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET and, for clone3 only, TIME.

clone3(2) has its flags in memory, where a filter cannot look: ENOSYS sends the C library back to clone(2).
"""

# linux/filter.h, linux/seccomp.h
LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, 16
X32 = 0x40000000
INSTRUCTION = "HBBI"

Instruction = tuple[int, int, int, int]
_libc = ctypes.CDLL(None, use_errno=True)


def confine(
    *, read: Iterable[str], write: Iterable[str], has_network: bool = True, is_browser: bool = False
) -> list[str]:
    """Confine this process and all that it starts, for good; what the kernel, or a filter around us, does not have.

    `read` are files and folders to read and execute besides `SYSTEM`, `write` folders to do anything in but to execute
    and to make devices; paths that are not there are left out. `is_browser` gives what browsers need besides: more to
    read, shared memory, and Unix sockets. Raises OSError for anything that is not a lack of the kernel's.
    """
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0)
    limit_descriptors(DESCRIPTORS if has_network and not is_browser else DESCRIPTORS_OF_MORE)
    missing = []
    if not restrict_files((*SYSTEM, *read, *(FOR_BROWSERS if is_browser else ())), write, is_browser=is_browser):
        missing.append("Landlock")
    if not refuse_calls(has_network=has_network, is_browser=is_browser):
        missing.append("seccomp")
    return missing


def limit_descriptors(count: int) -> None:
    """Let each process have so many descriptors at most, or as few as it may have already."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(count, hard) if hard != resource.RLIM_INFINITY else count
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def lacking() -> list[str]:
    """What this machine cannot keep from a command, for people; nothing where all rules hold."""
    abi = landlock_abi()
    if abi == 0:
        return ["this kernel has no Landlock, or systemd's filter refuses it: files of the service can be read"]
    if abi < SIGNALS_SINCE:
        return [f"Landlock of this kernel (ABI {abi}) cannot hold back signals to the service's other processes"]
    return []


def landlock_abi() -> int:
    """The version of Landlock that this kernel has for us; 0 for none."""
    abi = int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), CREATE_RULESET_VERSION))
    return max(abi, 0)


def restrict_files(read: Sequence[str], write: Iterable[str], *, is_browser: bool) -> bool:
    """Set the rules of Landlock; False where there is none."""
    abi = landlock_abi()
    if abi == 0:
        return False
    handled = rights(abi)
    attribute = ruleset_attribute(abi, handled)
    ruleset = _landlock(CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0)
    changes = handled & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK)
    for path in read:
        _allow(ruleset, path, handled & (EXECUTE | READ_FILE | READ_DIR))
    for path in (*write, *(("/dev/shm",) if is_browser else ())):  # noqa: S108
        _allow(ruleset, path, changes)
    for path in WRITABLE_FILES:
        _allow(ruleset, path, READ_FILE | WRITE_FILE)
    _landlock(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return True


def rights(abi: int) -> int:
    """All rights to files that an ABI knows: what is not handled is allowed."""
    return FIRST_RIGHTS | (REFER if abi >= 2 else 0) | (TRUNCATE if abi >= 3 else 0) | (IOCTL_DEV if abi >= 5 else 0)


def ruleset_attribute(abi: int, handled: int) -> bytes:
    """struct landlock_ruleset_attr, as large as the ABI knows it: files, network (nothing handled), scopes."""
    scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if abi >= SIGNALS_SINCE else 0
    return struct.pack("QQQ", handled, 0, scoped)[: 24 if abi >= SIGNALS_SINCE else 16 if abi >= 4 else 8]


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        allowed &= OF_FILES
    try:
        _landlock(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    finally:
        os.close(fd)


def _landlock(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def refuse_calls(*, has_network: bool, is_browser: bool = False) -> bool:
    """Set the filter of system calls; False where there is none, or none is known for this architecture."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        return False
    code = encoded(filter_of(machine, has_network=has_network, is_browser=is_browser))
    text = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // struct.calcsize(INSTRUCTION), ctypes.addressof(text))
    try:
        _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program, len(program)))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        return False
    return True


def _prctl(option: int, value: int, more: object) -> None:
    if _libc.prctl(option, value, more, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def encoded(program: Iterable[Instruction]) -> bytes:
    """struct sock_filter, one after the other."""
    return b"".join(struct.pack(INSTRUCTION, *one) for one in program)


def filter_of(machine: str, *, has_network: bool, is_browser: bool = False) -> list[Instruction]:
    """The program that decides about each system call; classic BPF over struct seccomp_data."""
    column = 0 if machine == "x86_64" else 1
    code: list[Instruction] = [
        (LOAD_WORD, 0, 0, AT_ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (LOAD_WORD, 0, 0, AT_NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32),  # x32, which has numbers of its own; no other call is so great
        (RETURN, 0, 0, REFUSE | errno.ENOSYS),
    ]
    code += _refused(REFUSED, column)
    code += _if_call(PRLIMIT[column], [(LOAD_WORD, 0, 0, AT_ARGUMENTS), (JUMP_EQUAL, 1, 0, 0)], errno.EPERM)
    code += _if_call(
        IOCTL[column],
        [(LOAD_WORD, 0, 0, AT_ARGUMENTS + 8), (JUMP_EQUAL, 2, 0, TIOCSTI), (JUMP_EQUAL, 1, 0, TIOCLINUX)],
        errno.EPERM,
        is_refused_when_equal=True,
    )
    if has_network and not is_browser:
        code += _refused(SIZED, column)
        code += _if_call(
            FCNTL[column],
            [
                (LOAD_WORD, 0, 0, AT_ARGUMENTS + 8), (JUMP_EQUAL, 0, 3, F_SETFL),
                (LOAD_WORD, 0, 0, AT_ARGUMENTS + 16), (JUMP_SET, 1, 0, O_APPEND),
            ],
            errno.EPERM,
        )  # fmt: skip
    code += [(JUMP_EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    code += _if_call(
        CLONE[column],
        [(LOAD_WORD, 0, 0, AT_ARGUMENTS), (JUMP_SET, 1, 0, NEW_NAMESPACES)],
        errno.EPERM,
        is_refused_when_equal=True,
    )
    code += _if_call(SOCKET[column], _sockets(is_browser=is_browser) if has_network else [], errno.EAFNOSUPPORT)
    code.append((RETURN, 0, 0, ALLOW))
    return code


def _refused(calls: Mapping[str, tuple[int | None, int | None]], column: int) -> list[Instruction]:
    """Each of these calls is refused."""
    numbers = [numbers[column] for numbers in calls.values()]
    return [
        each
        for number in numbers
        if number is not None
        for each in ((JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE | errno.EPERM))
    ]


def _sockets(*, is_browser: bool) -> list[Instruction]:
    """The tests of socket(2): by family, and netlink by protocol."""
    last: list[Instruction] = [
        (JUMP_EQUAL, 0, 2, NETLINK),
        (LOAD_WORD, 0, 0, AT_ARGUMENTS + 16),
        (JUMP_EQUAL, 1, 0, NETLINK_ROUTE),
    ]
    families = (*ADDRESS_FAMILIES, AF_UNIX) if is_browser else ADDRESS_FAMILIES
    count = len(families)
    tests = [(JUMP_EQUAL, count - at + len(last), 0, family) for at, family in enumerate(families)]
    return [(LOAD_WORD, 0, 0, AT_ARGUMENTS), *tests, *last]


def _if_call(
    number: int, tests: list[Instruction], code: int, *, is_refused_when_equal: bool = False
) -> list[Instruction]:
    """For one call: its tests, which jump past the first return that follows when they hold; otherwise go on."""
    first, second = (RETURN, 0, 0, REFUSE | code), (RETURN, 0, 0, ALLOW)
    if is_refused_when_equal:
        first, second = second, first
    return [(JUMP_EQUAL, 0, len(tests) + 2, number), *tests, first, second]
