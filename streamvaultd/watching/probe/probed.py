# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that asks for all streamers: streamvault-probe@.service, one instance for each connection of the daemon.

It starts under our own interpreter and is told which one has streamlink: {"python": PATH}; that one then executes this
file again, which imports the standard library and streamlink alone. From then on it reads one question a line, as
probe.py, helix.py and eventsub.py have them, with an "id" and what reach.py wants to know; and writes one answer a
line, with the same id and "rss", the bytes it holds; what nobody asked for has the id 0. The first line that it writes
is {"ready": true}. It ends when the connection does, whatever its threads are doing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import queue
import socket
import sys
import threading
import warnings
from typing import Any, NoReturn

LINE_MAX = 1024 * 1024
WORKERS = 8
SESSIONS_MAX = 16
"""Sessions that each thread keeps, by their options: making one takes longer than most questions."""

OPENING_MAX = 4096
PR_SET_DUMPABLE = 4


def main() -> NoReturn:
    """Hand over to the interpreter that has streamlink; under our own one."""
    opening = b""
    while not opening.endswith(b"\n") and len(opening) < OPENING_MAX:
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        opening += byte
    python = str(json.loads(opening)["python"])
    if not python.startswith("/"):
        sys.exit("cannot use an interpreter that is not named by its path")
    os.execv(python, [python, "-I", os.path.abspath(__file__), "serve"])  # noqa: S606, PTH100 - no shell, no symlinks


def load(name: str) -> Any:
    """A file beside this one, which is no module of this interpreter."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")  # noqa: PTH100, PTH118, PTH120
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        sys.exit(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sessions(threading.local):
    """Of one thread: a session of streamlink for each set of options that was asked for lately."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make
        self.kept: dict[str, Any] = {}

    def __call__(self, options: list[tuple[str, str]]) -> Any:
        key = json.dumps(options)
        if key not in self.kept:
            while len(self.kept) >= SESSIONS_MAX:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = self.make(options)
        self.kept[key] = found = self.kept.pop(key)
        return found


class Service:
    """Takes questions from one queue in a few threads, and writes each answer whole."""

    def __init__(self, probe: Any, helix: Any, eventsub: Any, reach: Any, output: Any) -> None:
        self.probe = probe
        self.reach = reach
        self.helix = helix.Helix()
        self.eventsub = eventsub.EventSub(helix, self.say)
        self.output = output
        self.lock = threading.Lock()
        # Here, for some of what streamlink imports wants the main thread. Debian's streamlink executes every plugin
        # for this, which takes a second, and two threads that do it at once get in each other's way.
        plugins = shared(probe.new_session([])[0].plugins)
        self.sessions = Sessions(lambda options: probe.new_session(options, plugins))
        self.questions: queue.Queue[dict[str, Any]] = queue.Queue()

    def work(self) -> None:
        """Answer one question after the other."""
        while True:
            question = self.questions.get()
            try:
                found = self.answer(question)
            except (Exception, SystemExit) as error:  # a plugin may raise anything
                found = self.probe.answer("trouble", f"{type(error).__name__}: {error}", trouble="site")
            found = self.probe.without_secrets(found, question)
            self.say({**found, "id": question["id"], "rss": resident()})

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """One answer."""
        ask = {"helix": self.helix.answer, "eventsub": self.eventsub.answer}.get(question["verb"])
        with self.reach.only(question):
            found: dict[str, Any] = ask(question) if ask else self.probe.probe(question, self.sessions)
        return found

    def say(self, answer: dict[str, Any]) -> None:
        """Write a line."""
        line = self.probe.encode(answer)
        with self.lock:
            self.output.write(line)
            self.output.flush()

    def read(self, source: Any) -> None:
        """Take questions until there are no more, or one that is none."""
        while line := source.readline(LINE_MAX):
            if not line.endswith(b"\n"):
                return
            question = json.loads(line)
            if not isinstance(question.get("id"), int):
                return
            self.questions.put(question)


def shared(plugins: Any) -> Any:
    """streamlink's plugins, for many threads: those that are imported when they are needed are one after the other."""
    lock, match_url = threading.Lock(), plugins.match_url

    def match_one_at_a_time(url: str) -> Any:
        with lock:
            return match_url(url)

    plugins.match_url = match_one_at_a_time
    return plugins


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def feed_watchdog() -> None:
    """Tell systemd that Python still runs other threads, as often as it wants to hear it (sd_watchdog_enabled(3))."""
    address, interval = os.environ.get("NOTIFY_SOCKET"), os.environ.get("WATCHDOG_USEC")
    if not address or not interval:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        while True:
            notify.send(b"WATCHDOG=1")
            threading.Event().wait(int(interval) / 3e6)


def serve() -> NoReturn:
    """Answer questions from stdin on stdout; under the interpreter that has streamlink."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # before it is told secrets: see base/private.py
    # What streamlink prints by itself must not get between our lines.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    status = 0
    try:
        reach = load("reach").Reach()
        reach.watch()
        service = Service(load("probe"), load("helix"), load("eventsub"), reach, output)
        for work in (feed_watchdog, *[service.work] * WORKERS):
            threading.Thread(target=work, daemon=True).start()
        service.say({"ready": True})
        service.read(sys.stdin.buffer)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The probe ends: {error}\n")
        status = 1
    os._exit(status)  # whatever its threads are doing


if __name__ == "__main__":
    serve()
