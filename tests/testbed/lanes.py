# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages side by side: each with a log of its own, told line by line, ended together when they are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

TAIL_LINES = 60
# Whoever runs us in the background ignores SIGINT and SIGQUIT, and what is tested would inherit that.
DEFAULT_SIGNALS = ["env", "--default-signal"]
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TO_END = 60.0
"""Seconds in which what was interrupted removes its boxes; then it is killed, and they go with it."""


class Stage:
    """What a stage does goes to its log, and is told on our stdout; with its name where others run beside it."""

    def __init__(self, name: str, log: Path, commands: Commands, *, beside: bool) -> None:
        self.name = name
        self.log = log
        self.commands = commands
        self.mark = f"{name:<12}| " if beside else ""

    def say(self, *lines: str) -> None:
        """One piece, so that what two stages say is not mixed within a line."""
        sys.stdout.write("".join(f"{self.mark}{line}\n" for line in lines))
        sys.stdout.flush()

    def run(self, command: list[str], *, show: bool = False) -> bool:
        """Run it with its output in the log; whether it succeeded.

        `show` tells all of its output, otherwise a failure tells the end of the log.
        """
        with self.log.open("a") as file:
            file.write(f"$ {' '.join(command)[:200]}\n")
            file.flush()
            with self.commands.start(command, self.log.parent) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    if show:
                        self.say(line.rstrip("\n"))
        is_ok = process.returncode == 0
        if not (is_ok or show):
            self.say(*self.log.read_text().splitlines()[-TAIL_LINES:])
        return is_ok


@dataclass
class Commands:
    """The commands that run now. Each is the head of a process group: a terminal's Ctrl-C comes to us alone, and once
    from us to all of them.
    """

    folder: Path
    running: set[int] = field(default_factory=set)
    """process groups"""
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False
    """Nothing starts any more."""

    @contextmanager
    def start(self, command: list[str], logs: Path) -> Iterator[subprocess.Popen[str]]:
        """Run it; its end is waited for."""
        with self.lock:
            if self.is_over:
                raise InterruptedError("interrupted")
            process = subprocess.Popen(
                [*DEFAULT_SIGNALS, *command],
                cwd=self.folder,
                env={**os.environ, "STREAMVAULTD_TEST_LOGS": str(logs)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                process_group=0,
            )
            self.running.add(process.pid)
        try:
            yield process
        finally:
            assert process.stdout is not None
            process.stdout.close()
            # not reaped before it is no more among those that are signalled: its number stays its own
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            with self.lock:
                self.running.discard(process.pid)
            process.wait()

    def interrupt(self, signum: signal.Signals) -> None:
        """No further one starts; those that run are sent a signal."""
        with self.lock:
            self.is_over = True
            for group in self.running:
                os.killpg(group, signum)


class Lanes:
    """Stages of several lanes: one after the other in each, and the lanes side by side."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self.left = 0
        # Not the threads themselves are waited for: Python 3.11 takes one whose join() is interrupted for ended.
        self.ended = threading.Condition()

    def run(self, lanes: Sequence[Sequence[str]], run: Callable[[str], None]) -> None:
        """Until all have ended: what fails keeps no other stage from being run."""

        def follow(lane: Sequence[str]) -> None:
            try:
                for name in lane:
                    if not self.commands.is_over:
                        run(name)
            finally:
                with self.ended:
                    self.left -= 1
                    self.ended.notify_all()

        self.left = len(lanes)
        for lane in lanes:
            threading.Thread(target=follow, args=(lane,)).start()
        self._wait(None)

    def _wait(self, timeout: float | None) -> bool:
        with self.ended:
            return self.ended.wait_for(lambda: self.left == 0, timeout)

    def end(self) -> None:
        """What runs is interrupted, and removes its boxes; what has not ended after a while is killed."""
        self.commands.interrupt(signal.SIGINT)
        if not self._wait(TO_END):
            self.commands.interrupt(signal.SIGKILL)
            self._wait(TO_END)


def interrupt_once() -> None:
    """Each signal that ends a program is a KeyboardInterrupt; the first is the last, for an end takes its time."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        for signum in INTERRUPTS:
            signal.signal(signum, signal.SIG_IGN)
        raise KeyboardInterrupt

    for signum in INTERRUPTS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, interrupt)
