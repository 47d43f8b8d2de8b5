# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervises one command inside its scope, as conmon does beside a container.

    python3 -I -S shim.py LABEL GATE_FD EXIT_FD CONTEXT_FD KEEP_FDS RULES_FD -- COMMAND...

A scope does not know exit statuses, and a daemon that was restarted is not the parent any more: so the parent is this
process, and what it learns goes through a pipe that the daemon keeps in systemd's fd store.

GATE_FD: one byte lets the command start; end of file ends the shim without a trace. EXIT_FD: where the exit record
goes. CONTEXT_FD: a file of NUL-separated texts: journald's socket, the fields of each journal entry in journald's
native format, and any number of secrets that must not appear in the journal. KEEP_FDS: comma-separated descriptors
that only the command needs, or "-". RULES_FD: a file with one JSON object that says what the command may reach:
scratch (a folder that is made for it and removed after it, its HOME and TMPDIR), read, write (lists of paths),
network, browser (true or false), as confine.py has them, and spare (true for one that is to be killed before others);
or "-" for a command that is not confined. LABEL is for people who read ps(1). stdin and stdout are the command's.

The command's stderr goes to the journal line by line. TERM and INT are ignored, for systemd sends them to the command
as well; the command gets a second TERM after STOP_AGAIN seconds, because after one streamlink waits for stalled
downloads.

The exit record is one line of JSON of at most PIPE_BUF bytes: status (exit code, or minus the signal), error (why the
command could not be executed), oomKills and memoryPeak (bytes) of the own cgroup, maxRss (KiB), userUSec, systemUSec,
memoryMax (bytes, the limit of the own cgroup), log (the last lines of stderr). The shim itself always exits with 0.

Each running recording pays for this process, so it imports no more than it needs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from select import POLLIN, poll
from socket import AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LINE_MAX = 2048
LINES_KEPT = 20
LOG_MAX = 2560
ERROR_MAX = 200
DRAIN_MAX = 64
READ_SIZE = 4096
STOP_AGAIN = 2.0
OOM_SCORE_ADJ = 500
SPARE_SCORE_ADJ = 900
CGROUP_ROOT = "/sys/fs/cgroup"
EXEC_FAILED = 127

# Names and numbers of syslog(3), words of streamlink's logger.
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7, "trace": 7, "all": 7}


class Journal:
    """Speaks journald's native protocol (systemd's JOURNAL_NATIVE_PROTOCOL.md). Never waits: refused is lost."""

    def __init__(self, address: str, fields: bytes) -> None:
        self._address = address
        self._fields = fields
        self._socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK)

    def send(self, priority: int, message: str) -> None:
        """Send one entry; a message is one line."""
        entry = b"%sPRIORITY=%d\nMESSAGE=%s\n" % (self._fields, priority, message.encode())
        try:  # noqa: SIM105
            self._socket.sendto(entry, self._address)
        except OSError:
            pass  # journald restarts, or is not there; unconnected, so the next entry finds the new one

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()


class Log:
    """The command's stderr: forwards each line, remembers the last ones. Lines are bounded, so is what is kept."""

    def __init__(self, fd: int, journal: Journal, secrets: list[str]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.at_end = False
        self._journal = journal
        self._secrets = secrets
        self._partial = b""
        self._priority = PRIORITIES["info"]
        self._kept: list[str] = []

    def read(self) -> bool:
        """Take what is there, once; False when there was nothing."""
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return False
        self.at_end = not data
        *lines, partial = (self._partial + data).split(b"\n")
        self._partial = partial[:LINE_MAX]
        for line in lines:
            self._forward(line)
        return not self.at_end

    def close(self) -> None:
        """Take the rest without waiting for others that hold the pipe open; the last line may lack its end."""
        reads = 0
        while reads < DRAIN_MAX and self.read():
            reads += 1
        self._forward(self._partial)
        os.close(self.fd)

    def last(self) -> list[str]:
        """The last lines, oldest first, at most LOG_MAX bytes of JSON."""
        room, first = LOG_MAX, len(self._kept)
        while first and (room := room - len(encode(self._kept[first - 1])) - 1) >= 0:
            first -= 1
        return self._kept[first:]

    def _forward(self, line: bytes) -> None:
        text = line[:LINE_MAX].decode(errors="replace").rstrip()
        if not text:
            return
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = " ".join([redact(word) for word in text.split(" ")])
        self._priority = priority_of(text, self._priority)
        self._journal.send(self._priority, text)
        self._kept = [*self._kept, text][-LINES_KEPT:]


def priority_of(text: str, previous: int) -> int:
    """The syslog level of a line; one without a level continues the line before it, as in a traceback."""
    if text.startswith("Traceback "):
        return PRIORITIES["error"]
    word = text.split(" ", 1)[0].rstrip(":").lower()
    return PRIORITIES.get(word, previous)


def redact(word: str) -> str:
    """The word without the credentials and the query of a URL: both may hold tokens."""
    path, mark, query = word.partition("?")
    if mark and "=" in query:
        word = path + "?***"
    parts = word.split("://")
    for index in range(1, len(parts)):
        user, at, rest = parts[index].partition("@")
        if at and "/" not in user:
            parts[index] = "***@" + rest
    return "://".join(parts)


def raise_oom_score(score: int = OOM_SCORE_ADJ) -> None:
    """Make the kernel choose this process before the shim; the score is never lowered."""
    fd = os.open("/proc/self/oom_score_adj", os.O_RDWR)
    if int(os.read(fd, 16)) < score:
        os.pwrite(fd, b"%d" % score, 0)
    os.close(fd)


def confine(rules: dict[str, Any]) -> None:
    """Let this process, and what it executes, reach only what the rules say.

    Where the kernel cannot do that the command runs all the same; the daemon tells of it.
    """
    scratch = rules["scratch"]
    names = (
        "HOME",
        "TMPDIR",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
    )
    os.environ.update(dict.fromkeys(names, scratch))
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import confine as confinement  # type: ignore[import-not-found]  # -I: only the standard library can be imported

    confinement.confine(
        read=rules["read"], write=[scratch, *rules["write"]], has_network=rules["network"], is_browser=rules["browser"]
    )


def remove(folder: str) -> None:
    """Remove a scratch folder, whatever the command has made in it."""
    try:
        os.rmdir(folder)  # it is empty, as a rule
    except FileNotFoundError:
        return
    except OSError:
        # A folder that its maker may not read, by its umask, can be emptied by nobody else of the same user either
        for argv in (["chmod", "-R", "u+rwx", "--", folder], ["rm", "-rf", "--one-file-system", "--", folder]):
            # They would say the names that the command chose
            quiet = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
            os.waitpid(os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet), 0)


def make_scratch(folder: str, log: int) -> None:
    """Make a scratch folder anew. Where there is no room for one, the command runs without: most need none."""
    try:
        remove(folder)  # of a run that had this name in a store that is gone
        os.mkdir(folder, 0o700)
    except OSError as error:
        os.write(log, f"warning: cannot make {folder}: {error.strerror}\n".encode())


def become(command: list[str], stderr: int, report: int, rules: dict[str, Any] | None) -> None:
    """Turn the forked child into the command; does not return. What prevents it is written to `report`."""
    try:
        signal.set_wakeup_fd(-1)
        # Python ignores PIPE and XFSZ, which an exec would hand on.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.setpgid(0, 0)
        os.dup2(stderr, 2)
        raise_oom_score(SPARE_SCORE_ADJ if rules is not None and rules.get("spare") else OOM_SCORE_ADJ)
        if rules is not None:
            confine(rules)
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(report, f"cannot execute {command[0]}: {error.strerror}"[:ERROR_MAX].encode())
    finally:
        os._exit(EXEC_FAILED)


def spawn(command: list[str], stderr: int, rules: dict[str, Any] | None) -> tuple[int, str | None]:
    """Fork and execute; returns when the command runs or could not. (pid, why it could not)"""
    reader, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(command, stderr, report, rules)
    os.close(stderr)
    os.close(report)
    error = os.read(reader, READ_SIZE).decode()
    os.close(reader)
    return pid, error or None


def let_go(fds: list[int]) -> None:
    """Close what only the command uses: the shim must keep neither its files nor its secrets."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for fd in [null, *fds]:
        os.close(fd)


def catch_signals() -> int:
    """Ignore what asks a process to end, but tell of it: the descriptor yields one byte per signal, its number."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def attend(pid: int, log: Log, signals: int) -> None:
    """Forward the log and repeat TERM until the child has exited; it is not reaped."""
    exited = os.pidfd_open(pid)
    poller = poll()
    for fd in (exited, signals, log.fd):
        poller.register(fd, POLLIN)
    again_at = None
    while True:
        wait = None if again_at is None else max(0.0, again_at - monotonic()) * 1000
        ready = [fd for fd, _ in poller.poll(wait)]
        if exited in ready:
            return
        if signals in ready:
            received = os.read(signals, READ_SIZE)
            if signal.SIGTERM in received or signal.SIGINT in received:
                again_at = again_at or monotonic() + STOP_AGAIN
        if again_at is not None and monotonic() >= again_at:
            os.kill(pid, signal.SIGTERM)
            again_at = None
        if log.fd in ready:
            log.read()
            if log.at_end:
                poller.unregister(log.fd)


def read_text(path: str) -> str:
    """The content of a small file, "" if there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def memory_of(cgroup: str) -> tuple[int | None, int | None, int | None]:
    """(oom_kill of memory.events, memory.peak, memory.max in bytes) of a cgroup folder; None for what there is not."""
    words = read_text(cgroup + "/memory.events").split()
    oom_kills = int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else None
    return oom_kills, bytes_in(cgroup + "/memory.peak"), bytes_in(cgroup + "/memory.max")


def bytes_in(path: str) -> int | None:
    """The number that a file holds; None if there is no such file, or no number in it, such as "max"."""
    text = read_text(path).strip()
    return int(text) if text.isdigit() else None


def own_cgroup(membership: str) -> str:
    """The folder of the cgroup that /proc/self/cgroup names; cgroups(7)."""
    paths = [line[3:] for line in membership.splitlines() if line.startswith("0::")]
    return CGROUP_ROOT + (paths[0] if paths else "/")


def encode(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def exit_record(pid: int, error: str | None, log: list[str]) -> bytes:
    """Reap the child and tell of its end."""
    _, status, usage = os.wait4(pid, 0)
    oom_kills, peak, limit = memory_of(own_cgroup(read_text("/proc/self/cgroup")))
    record = {
        "status": os.waitstatus_to_exitcode(status),
        "error": error,
        "oomKills": oom_kills,
        "memoryPeak": peak,
        "memoryMax": limit,
        "maxRss": usage.ru_maxrss,
        "userUSec": int(usage.ru_utime * 1_000_000),
        "systemUSec": int(usage.ru_stime * 1_000_000),
        "log": log,
    }
    return encode(record) + b"\n"


def supervise(command: list[str], context: bytes, exit_fd: int, keep: list[int], rules: dict[str, Any] | None) -> None:
    """Run the command to its end and leave the exit record."""
    address, fields, *secrets = context.split(b"\0")
    journal = Journal(address.decode(), fields)
    signals = catch_signals()
    reader, stderr = os.pipe()
    if rules is not None:
        make_scratch(rules["scratch"], stderr)
    pid, error = spawn(command, stderr, rules)
    let_go(keep)
    log = Log(reader, journal, [secret.decode() for secret in secrets if secret])
    attend(pid, log, signals)
    # Nothing of the run may outlive its record. Until it is reaped the child keeps its process group's number taken.
    try:  # noqa: SIM105
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    log.close()
    if rules is not None:
        remove(rules["scratch"])
    if error is not None:
        journal.send(PRIORITIES["error"], error)
    journal.close()
    try:  # noqa: SIM105
        os.write(exit_fd, exit_record(pid, error, log.last()))
    except OSError:
        pass  # nobody holds the other end any more


def content_of(fd: int) -> bytes:
    """All that an inherited file holds; closes it."""
    content = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return content


def main(argv: list[str]) -> None:
    """See the head of this file."""
    gate, exit_fd, context_fd = (int(text) for text in argv[2:5])
    keep = [] if argv[5] == "-" else [int(text) for text in argv[5].split(",")]
    # An older daemon, which runs on while its package is replaced, gives no rules
    rules_fd = None if argv[6] in ("-", "--") else int(argv[6])
    for fd in (gate, exit_fd, context_fd, *([] if rules_fd is None else [rules_fd])):
        os.set_inheritable(fd, False)  # noqa: FBT003
    if not os.read(gate, 1):
        return
    os.close(gate)
    context = content_of(context_fd)
    rules = None if rules_fd is None else json.loads(content_of(rules_fd))
    supervise(argv[argv.index("--") + 1 :], context, exit_fd, keep, rules)
    # All is said that is to be said: what an interpreter tidies up at its end would only delay the replacement
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
