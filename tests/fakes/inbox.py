# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that is notified, as apprise's json:// talks to it; it can answer with errors, or hang."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Inbox:
    """A context manager. `status` is what is answered; `hangs`: no answer ends."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        self.hangs = False
        self.over = threading.Event()
        self.asked = threading.Event()
        """Somebody has come, whatever the answer."""

        self._came = threading.Condition()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.asked.set()
                if inbox.hangs:
                    self.hang()
                    return
                if inbox.status == 200:
                    with inbox._came:
                        inbox.paths.append(self.path)
                        inbox.messages.append(message)
                        inbox._came.notify_all()
                self.send_response(inbox.status)
                self.end_headers()

            def hang(self) -> None:
                with contextlib.suppress(OSError):
                    while inbox.hangs and not inbox.over.wait(1):
                        self.wfile.write(b"X")  # slowly, so that no limit between two reads helps
                        self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so it is called
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def url(self, path: str = "inbox") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    def wait(self, count: int, limit: float) -> None:
        """Wait until there are so many messages."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.messages) >= count, limit), self.messages

    def wait_for(self, *texts: str, limit: float) -> None:
        """Wait until all of these were told, each in a title or in the text of several messages."""

        def is_told() -> bool:
            everything = "".join(message["title"] + message["message"] for message in self.messages)
            return all(text in everything for text in texts)

        with self._came:
            assert self._came.wait_for(is_told, limit), self.messages

    def __enter__(self) -> Inbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
