# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the entries of a media playlist numbers that grow, where the source counts wrongly.

streamlink goes by EXT-X-MEDIA-SEQUENCE alone: it never fetches a number again, and none that is lower. A packager that
stays at 0 while its window slides, or begins anew with its encoder, has new media that streamlink leaves until they
are gone. Here the names of the entries are compared with those of the reloads before; where the source's numbers
contradict them, what is known keeps a number below, and what is new gets the next ones. Everything that is not
understood, and every playlist that counts well, is handed through as it came, to the byte.

streamlink loads this file as it loads plugins, beside streamvault_guard.py, so it imports what streamlink itself has.
Each playlist is reloaded by a thread of its own, so what is known of it is known by thread.
"""

from __future__ import annotations

import logging
import re
import threading
from itertools import islice
from typing import Any, NamedTuple

import requests

HEAD = b"#EXTM3U"
REMEMBERED = 4096
"""Entries, at least, whose names are known; and two windows."""

LEAPS, IGNORED = 4, 10
"""This many changes between two playlists that both go on are two servers, which count on their own. The one with the
higher numbers is followed, as streamlink itself would, unless it does not come for that many reloads."""

_SEQUENCE = re.compile(r"#EXT-X-MEDIA-SEQUENCE:\s*([0-9]{1,18})\s*", re.ASCII)
_ENTRY_COMES = re.compile(r"#(?:EXTINF|EXT-X-BYTERANGE):.")
_LOADED = re.compile(r'^(#EXT-X-(?:MAP|KEY):(?:.*,)?URI="[^"#]+)"')
_RANGE = re.compile(r"#EXT-X-BYTERANGE:([0-9]{1,18})(?:@([0-9]{1,18}))?\s*", re.ASCII)
_OTHERS = ("#EXT-X-STREAM-INF", "#EXT-X-I-FRAMES-ONLY", "#EXT-X-SKIP")
"""Of what is no list of all its media segments."""

log = logging.getLogger("streamlink.plugins.streamvault_numbers")
_send = requests.Session.send
_of_thread = threading.local()


class Name(NamedTuple):
    """What tells an entry from others, as hashes: its address and byte range, and the same without a query."""

    whole: int
    bare: int


class Listing(NamedTuple):
    """A media playlist: the source's number of the first entry, and the names of all."""

    first: int
    names: tuple[Name, ...]

    @property
    def end(self) -> int:
        return self.first + len(self.names)

    @property
    def sort(self) -> int | None:
        """The sort of name in which no two are alike: bare (tokens change), else whole; None if there are none."""
        for sort in (1, 0):
            if len({name[sort] for name in self.names}) == len(self.names):
                return sort
        return None


def goes_on(before: Listing, after: Listing) -> bool:
    """Whether an entry of both has the same name in them."""
    sort, known = after.sort, dict(enumerate(before.names, before.first))
    names = [(known[number], name) for number, name in enumerate(after.names, after.first) if number in known]
    return sort is not None and any(old[sort] == new[sort] for old, new in names)


class Count:
    """Of one playlist over its reloads. `shift` is added to the source's numbers; `behind` follows the last given."""

    def __init__(self) -> None:
        self.shift = 0
        self.behind: int | None = None
        self.given: dict[int, Name] = {}
        self.last = Listing(0, ())
        self.is_steady = False  # entries keep their names from one reload to the next
        self.is_frozen = False  # the number stays while the window slides
        self.has_slid = False
        self.doubted: Listing | None = None
        self.beginnings = 0
        self.leaps = 0  # between playlists that both go on
        self.ignored = 0
        self.begun = 0  # the number that the last beginning was given

    def take(self, listing: Listing) -> int:
        """The shift for this list."""
        sort = listing.sort
        if sort is None:
            return self.shift
        if self.leaps >= LEAPS and self.behind is not None and listing.end <= self.last.first:
            self.ignored += 1
            if self.ignored < IGNORED:
                return self.shift
            self.leaps = 0
            self._note(listing, self._begin(listing, self.behind))
            return self.shift
        self.ignored = 0
        shift = self.shift if self.behind is None else self._shift(listing, sort, self.behind)
        if shift is not None:
            self._note(listing, shift)
        return self.shift

    def _shift(self, listing: Listing, sort: int, behind: int) -> int | None:
        """None: it is not believed yet."""
        first = listing.first + self.shift
        if first >= behind and not self.shift:
            return 0  # media segments are missing, and streamlink tells of it
        same = [self.given[number][sort] == name[sort] for number, name in enumerate(listing.names, first)
                if number in self.given]  # fmt: skip
        self.is_steady = self.is_steady or any(same)
        is_back = first + len(listing.names) < behind
        # another server's list, which is shorter and behind, begins within the window; a beginning is not after it
        is_short = 2 * len(listing.names) <= len(self.last.names) and listing.first <= self.last.first
        if same and all(same):
            # the names of a reset may be those of the beginning; a server that is behind lists later ones
            is_reset = first <= self.begun or self.doubted is not None
            return self._again(listing, behind) if is_back and is_short and self.has_slid and is_reset else self.shift
        # where the source counts on, what is known is in the last window: an advertisement was there long before, too
        goes_on = self.last.first < listing.first < self.last.end
        place, number = self._known(listing, sort, self.last.first + self.shift if goes_on else 0)
        if place:
            return self._beside(listing, place, number, behind)
        if self.is_frozen and listing.first == self.last.first:
            return behind - listing.first
        # between numbers that were given it may be an old copy of what was missed
        is_elsewhere = bool(same) or first + len(listing.names) <= next(iter(self.given))
        is_begun = is_short or listing.end <= self.last.first or self.doubted is not None
        if is_back and is_elsewhere and is_begun:
            return self._again(listing, behind)
        return self.shift  # or such as names that change with every reload, or another server with the same numbers

    def _known(self, listing: Listing, sort: int, least: int) -> tuple[int, int]:
        """How many entries come up to the last known since `least`, and its number; what comes again is new."""
        numbers = {name[sort]: number for number, name in self.given.items()}
        place, highest = 0, -1
        for index, name in enumerate(listing.names, 1):
            number = numbers.get(name[sort], -1)
            if number > highest and number >= least:
                place, highest = index, number
        return place, highest

    def _beside(self, listing: Listing, place: int, number: int, behind: int) -> int:
        """Some entries are known: what follows them is new."""
        self.is_steady = True
        first = listing.first + self.shift
        is_old = place == len(listing.names) and first + place <= behind
        if first + place - 1 == number or is_old:
            return self.shift
        self.is_frozen = listing.first == self.last.first
        is_elsewhere = listing.end <= self.last.first or listing.first >= self.last.end
        self.leaps += self.beginnings > 0 and is_elsewhere and place < len(listing.names)
        return behind - place - listing.first if behind >= place else self.shift

    def _again(self, listing: Listing, behind: int) -> int | None:
        """It went back. A copy that a cache has kept is no new beginning: that one is there twice, and grows."""
        before, self.doubted = self.doubted, listing
        if before is None or not before.end < listing.end <= before.end + len(listing.names):
            return None
        # a run that began just before has seen no other two lists
        self.is_steady = self.is_steady or goes_on(before, listing)
        return self._begin(listing, behind) if self.is_steady else None

    def _begin(self, listing: Listing, behind: int) -> int:
        """All of it is new: the shift that puts it behind what was given."""
        self.beginnings, self.begun = self.beginnings + 1, behind
        return behind - listing.first

    def _note(self, listing: Listing, shift: int) -> None:
        if shift and not self.shift:
            log.info("A playlist counts its entries wrongly: they are counted by their names")
        self.begun = listing.first if self.behind is None else self.begun
        self.has_slid = self.has_slid or (bool(self.last.names) and listing.names[0] != self.last.names[0])
        self.shift, self.last, self.doubted = shift, listing, None
        for number, name in enumerate(listing.names, listing.first + shift):
            if self.behind is None or number >= self.behind:
                self.given[number] = name
        self.behind = max(self.behind or 0, listing.end + shift)
        more = max(0, len(self.given) - max(REMEMBERED, 2 * len(listing.names)))
        for number in list(islice(self.given, more)):
            del self.given[number]


def parse(lines: list[str]) -> Listing | None:
    """What a playlist lists, as streamlink counts it; None for one that is of another kind, or not understood."""
    first, names, comes, ranged = 0, [], False, ""
    ends: dict[str, int] = {}  # of ranges, by address: the next one may go on there without saying so
    for line in lines:
        if line.startswith(_OTHERS):
            return None
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            match = _SEQUENCE.fullmatch(line)
            if match is None:
                return None
            first = int(match[1])
        elif line.startswith("#"):
            comes = comes or _ENTRY_COMES.match(line) is not None
            ranged = line if line.startswith("#EXT-X-BYTERANGE:") else ranged
        elif line and comes:
            part = _RANGE.fullmatch(ranged)
            if part:
                start = int(part[2]) if part[2] else ends.get(line, 0)
                ends[line] = start + int(part[1])
                ranged = f"{part[1]}@{start}"
            names.append(Name(hash((line, ranged)), hash((line.partition("?")[0], ranged))))
            comes, ranged = False, ""
    return Listing(first, tuple(names)) if names else None


def shifted(lines: list[str], listing: Listing, shift: int, beginnings: int) -> list[str]:
    """The playlist with other numbers. What was encrypted with the number as its vector gets the source's own.

    What an encoder that began anew has under the same address, an initialisation or a key, is another one: streamlink
    takes a fragment for another address, and servers never see it.
    """
    found, key, comes, number = [lines[0], f"#EXT-X-MEDIA-SEQUENCE:{listing.first + shift}"], "", False, listing.first
    for line in lines[1:]:
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            continue
        line = _LOADED.sub(rf'\1#{beginnings}"', line) if beginnings else line
        if line.startswith("#EXT-X-KEY:"):
            key = line if "METHOD=AES-128" in line and ",IV=" not in line and ":IV=" not in line else ""
        elif line.startswith("#"):
            comes = comes or _ENTRY_COMES.match(line) is not None
        elif line and comes:
            found += [f"{key},IV=0x{number:032x}"] if key else []
            comes, number = False, number + 1
        found.append(line)
    return found


def counted(body: bytes, count: Count) -> bytes:
    """The playlist as streamlink is to read it."""
    lines = body.decode("utf-8", "surrogateescape").splitlines()
    listing = parse(lines)
    shift = 0 if listing is None else max(count.take(listing), -listing.first)
    if listing is None or not shift:
        return body
    return "\n".join([*shifted(lines, listing, shift, count.beginnings), ""]).encode("utf-8", "surrogateescape")


def send(session: requests.Session, request: Any, **kwargs: Any) -> Any:
    """In place of requests.Session's own; the hops of a redirect come here, too, and are left alone."""
    response = _send(session, request, **kwargs)
    is_whole = kwargs.get("allow_redirects", True) and not kwargs.get("stream", session.stream)
    if is_whole and threading.current_thread() is not threading.main_thread() and response.content.startswith(HEAD):
        if not hasattr(_of_thread, "count"):
            _of_thread.count = Count()
        response._content = counted(response.content, _of_thread.count)
    return response


requests.Session.send = send  # type: ignore[method-assign, assignment]
