# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command has at hand: the global options, the daemon, the screen and the clock."""

from __future__ import annotations

from streamvaultd.ctl import records
from streamvaultd.ctl.options import SOCKET
from streamvaultd.ctl.outcome import Usage
from streamvaultd.ctl.show.text import Style, line, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Protocol

    from streamvaultd.ctl.records import Answer, Recording, Segment
    from streamvaultd.ctl.show.screen import Screen
    from streamvaultd.ctl.show.table import Table
    from streamvaultd.ctl.show.text import Line

    class Client(Protocol):
        """Calls methods, each on a connection of its own; see streamvaultd.varlink.client."""

        def call(self, method: str, parameters: Mapping[str, object]) -> Answer: ...

        def more(self, method: str, parameters: Mapping[str, object]) -> Iterator[Answer]: ...


INTERFACE = "io.streamvault.Recorder"
PAGE = 1000
_LOOKS = ("Get", "List", "Subscribe", "Why", "Check")
_ASCENDING = frozenset({"ListSegments", "ListSeams", "ListStreamers"})


class Session:
    """One run of streamvaultctl.

    `client_of` gives the client for a socket, `now` is µs of UTC since 1970, `execute` runs a command in our place,
    `read` gives the lines that a command prints, none if it cannot be run.
    """

    def __init__(
        self,
        *,
        screen: Screen,
        client_of: Callable[[str], Client],
        now: Callable[[], int],
        execute: Callable[[list[str]], None],
        read: Callable[[list[str]], list[str]] = lambda _argv: [],
    ) -> None:
        self.screen = screen
        self.now = now
        self.execute = execute
        self.read = read
        self._client_of = client_of
        self.requested: str | None = None
        """The last call that may change something, as soon as it may be on its way."""
        self.may_change = True  # until the command is known
        self.json = "off"
        self.socket = SOCKET
        self.no_pager = False
        self.no_legend = False
        self.quiet = False
        self.utc = False

    def call(self, method: str, **parameters: object) -> Answer:
        """The reply to one call; parameters that are None are left out. Raises VaultError."""
        self._note_request(method, parameters)
        return self._client_of(self.socket).call(f"{INTERFACE}.{method}", given(parameters))

    def more(self, method: str, **parameters: object) -> Iterator[Answer]:
        """The replies to one call as they come, however long it takes; otherwise as `call`."""
        self._note_request(method, parameters)
        return self._client_of(self.socket).more(f"{INTERFACE}.{method}", given(parameters))

    def _note_request(self, method: str, parameters: Mapping[str, object]) -> None:
        is_look = method.startswith(_LOOKS) or parameters.get("dryRun") or parameters.get("verb") == "status"
        if not is_look:
            self.requested = method

    def pages(self, method: str, name: str, *, limit: int | None = None, **parameters: object) -> list[Answer]:
        """The items of a list that comes in pages: all, or as many as `limit`."""
        found: list[Answer] = []
        onward, place = "after" if method in _ASCENDING else "before", None
        while limit is None or len(found) < limit:
            wanted = None if limit is None else min(limit - len(found), PAGE)
            answer = self.call(method, **parameters, **{"limit": wanted, onward: place})
            found += records.objects(answer, name)
            place = answer.get("next")
            if place is None:
                break
        return found

    def get(self, recording: str) -> Recording:
        """The recording of this number or name; raises NoSuchRecording."""
        return recording_of(self.call("Get", recording=recording))

    def segments(self, recording: int) -> list[Segment]:
        """The segments of a recording, oldest first."""
        return [records.parse_segment(item) for item in self.segment_answers(str(recording))]

    def segment_answers(self, recording: str) -> list[Answer]:
        """As the daemon answers them."""
        return self.pages("ListSegments", "segments", recording=recording)

    def seam_answers(self, recording: str) -> list[Answer]:
        """The seams of a recording, as the daemon answers them."""
        return self.pages("ListSeams", "seams", recording=recording)

    def confirm(self, question: str, *, default: bool) -> bool | None:
        """What people answer; None where nobody can be asked."""
        answer = self.screen.ask(f"{question} [{'Y/n' if default else 'y/N'}] ")
        if answer is None:
            return None
        return answer.strip().lower() in ("y", "yes") if answer.strip() else default

    def note(self, text: str) -> None:
        """Tell people something that is no result; not with --quiet."""
        if not self.quiet:
            self.screen.note(text)

    def warn(self, answer: Answer) -> None:
        """Tell people of the warning in an answer, if there is one."""
        told = answer.get("warning")
        if isinstance(told, str):
            self.screen.note(told, Style.BAD)

    def show_json(self, value: object) -> bool:
        """Print an answer as it is if JSON was asked for; whether it was."""
        if self.json != "off":
            self.screen.show_json(value, pretty=self.json == "pretty")
        return self.json != "off"

    def json_only(self, value: object) -> None:
        """Print an answer if JSON was asked for; there is nothing to print otherwise."""
        self.show_json(value)

    def show(self, lines: list[Line]) -> None:
        """Print lines, through a pager if they are many."""
        self.screen.show(lines, paged=not self.no_pager)

    def table_lines(self, table: Table, columns: int | None = None) -> list[Line]:
        """A table's lines as they fit here, or so many columns; the last one names the columns that do not.

        Where it may not be said, none is left out.
        """
        has_header, is_whole = not self.no_legend, self.no_legend or self.quiet
        columns = self.screen.columns if columns is None else columns
        lines = table.lines(columns=columns, has_header=has_header, is_whole=is_whole)
        left_out = table.left_out(columns=columns, has_header=has_header)
        if columns is not None and left_out and not is_whole:
            told = f"Not shown for want of room: {', '.join(left_out)}."
            lines += [line(part, Style.FAINT) for part in wrapped(told, columns)]
        return lines


def recording_of(answer: Answer) -> Recording:
    """The recording in a reply; raises BadAnswer."""
    return records.parse_recording(records.object_of(answer, "recording"))


def given(parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters that are not None; raises Usage for one that no message can hold."""
    for value in parameters.values():
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise Usage(f"'{value}' is not valid UTF-8")
    return {key: value for key, value in parameters.items() if value is not None}
