# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers that streamlink is given where a source counts wrongly, and its own where it counts well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

_send = requests.Session.send
from streamvaultd.recording.streamlink.guard import streamvault_numbers as numbers  # noqa: E402

requests.Session.send = _send  # type: ignore[method-assign]

KEY = '#EXT-X-KEY:METHOD=AES-128,URI="key"'
Listed = tuple[int, Sequence[str]]
"""The number of the first entry, and what is listed."""


def playlist(first: int | None, names: Iterable[str], head: Sequence[str] = ()) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2"]
    lines += [] if first is None else [f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    lines += head
    for name in names:
        lines += ["#EXTINF:2.000,", name]
    return "\r\n".join([*lines, ""]).encode()


class Reader:
    """Fetches as streamlink does: what has a number that is not below the next one."""

    def __init__(self, *, plain: bool = False) -> None:
        self.count = None if plain else numbers.Count()
        self.sequence = -1
        self.fetched: list[str] = []
        self.gaps = 0

    def reload(self, body: bytes) -> list[str]:
        body = body if self.count is None else numbers.counted(body, self.count)
        lines = body.decode().splitlines()
        first = next((int(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-MEDIA-SEQUENCE:")), 0)
        for number, name in enumerate([line for line in lines if not line.startswith("#")], first):
            if number >= self.sequence:
                self.gaps += 0 <= self.sequence < number
                self.fetched.append(name)
                self.sequence = number + 1
        return lines


def fetched(reloads: Iterable[Listed], *, plain: bool = False) -> str:
    reader = Reader(plain=plain)
    for first, names in reloads:
        reader.reload(playlist(first, names))
    return " ".join(reader.fetched)


def sliding(names: Sequence[str], window: int, zero: bool = False) -> list[Listed]:
    """The window over these, one further each time."""
    ends = range(window, len(names) + 1)
    return [(0 if zero else end - window, names[end - window : end]) for end in ends]


ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_number_that_stays_while_the_window_slides(window: int) -> None:
    reloads = sliding(ALPHABET, window, zero=True)
    found = fetched(reloads)
    if window == 1:  # nothing that is known is listed any more, so it may as well be an address that changes
        assert found == fetched(reloads, plain=True) == "a"
    else:
        assert found == " ".join(ALPHABET)
        assert fetched(reloads, plain=True) == " ".join(ALPHABET[:window]), "streamlink takes what it saw first"


def test_a_playlist_without_a_number() -> None:
    reader = Reader()
    for _, names in sliding(ALPHABET, 4):
        reader.reload(playlist(None, names))
    assert reader.fetched == list(ALPHABET)


def test_it_stays_and_all_of_the_window_was_missed() -> None:
    reloads = sliding(ALPHABET, 4, zero=True)
    assert fetched([*reloads[:5], *reloads[15:]]) == "a b c d e f g h p q r s t u v w x y z"


def test_numbers_that_begin_anew() -> None:
    before = sliding(ALPHABET, 6)[:5]
    after: list[Listed] = [*((0, "ABCDEFGH"[:count]) for count in range(1, 7)), (1, "BCDEFG"), (2, "CDEFGH")]
    assert fetched([*before, *after]) == " ".join(ALPHABET[:10] + "ABCDEFGH")
    assert fetched([*before, *after], plain=True) == " ".join(ALPHABET[:10])


def test_numbers_that_begin_anew_and_reloads_are_rare() -> None:
    assert fetched([*sliding(ALPHABET, 8)[:4], (0, "A"), (0, "ABCDE"), (0, "ABCDEF")]) == " ".join("abcdefghijkABCDEF")


@pytest.mark.parametrize("seen", [1, 2])
def test_numbers_that_begin_anew_just_after_the_first_list(seen: int) -> None:
    before = sliding(ALPHABET, 8)[3 : 3 + seen]
    after: list[Listed] = [(0, "ABCDEFGHIJ"[:count]) for count in range(1, 9)]
    assert fetched([*before, *after]) == " ".join([*ALPHABET[3 : 10 + seen], *"ABCDEFGH"])


def test_numbers_that_are_lower_with_names_that_change_begin_nothing() -> None:
    reloads: list[Listed] = [(9, ["a9", "a10", "a11", "a12"]), (0, ["b0"]), (0, ["c0", "c1"]), (0, ["d0", "d1", "d2"])]
    assert fetched(reloads) == fetched(reloads, plain=True) == "a9 a10 a11 a12"


def test_numbers_that_begin_anew_while_old_entries_are_still_listed() -> None:
    assert fetched([(7, "abcd"), (8, "bcde"), (0, "cdefg"), (1, "defgh")]) == "a b c d e f g h"


def test_numbers_that_begin_anew_after_a_long_time() -> None:
    names = [f"{number}.ts" for number in range(numbers.REMEMBERED + 34)]
    before = [(first, names[first : first + 10]) for first in range(0, len(names) - 9, 5)]
    assert fetched([*before, (0, ["A"]), (0, ["A", "B"])]) == " ".join([*names, "A", "B"])


def test_the_names_begin_anew_with_the_numbers() -> None:
    names = [f"live{number}.ts" for number in range(12)]
    again: list[Listed] = [(0, names[:count]) for count in range(1, 7)]
    assert fetched([*sliding(names, 6), *again]) == " ".join([*names, *names[:6]])


def test_an_old_copy_from_a_cache_is_no_new_beginning() -> None:
    healthy = sliding(ALPHABET, 6)
    reloads = [*healthy[:8], healthy[2], healthy[1], healthy[2], *healthy[8:], healthy[0], healthy[0]]
    assert fetched(reloads) == fetched(reloads, plain=True) == " ".join(ALPHABET)


def test_a_copy_that_is_older_than_all_that_was_seen() -> None:
    """It stays as it is."""
    healthy = sliding(ALPHABET, 6)
    reloads = [*healthy[12:15], healthy[1], healthy[1], healthy[15], healthy[1], *healthy[16:]]
    assert fetched(reloads) == fetched(reloads, plain=True) == " ".join(ALPHABET[12:])


def test_a_copy_of_a_playlist_whose_number_stays() -> None:
    frozen = sliding(ALPHABET, 6, zero=True)
    assert fetched([*frozen[:6], frozen[3], frozen[5], *frozen[6:]]) == " ".join(ALPHABET)


def test_a_growing_playlist_of_which_one_server_is_behind() -> None:
    ahead: list[Listed] = [(0, ALPHABET[:count]) for count in range(4, 20)]
    behind: list[Listed] = [(0, ALPHABET[:count]) for count in range(1, 17)]
    reloads = [each for pair in zip(ahead, behind, strict=True) for each in pair]
    assert fetched(reloads) == fetched(reloads, plain=True) == " ".join(ALPHABET[:19])


def test_addresses_that_change_with_every_reload() -> None:
    reloads = [(first, [f"{first}/{name}" for name in names]) for first, names in sliding(ALPHABET, 5)]
    assert fetched(reloads) == fetched(reloads, plain=True)
    still = [(3, [f"{token}/{name}" for name in "abc"]) for token in range(5)]
    assert fetched(still) == fetched(still, plain=True)


def test_tokens_that_change_with_every_reload() -> None:
    reloads = [(0, [f"{name}?t={at}" for name in names]) for at, (_, names) in enumerate(sliding(ALPHABET, 5))]
    assert [name[0] for name in fetched(reloads).split()] == list(ALPHABET)


def test_entries_that_differ_in_the_query_alone() -> None:
    reloads = [(0, [f"get?part={name}" for name in names]) for _, names in sliding(ALPHABET, 5)]
    assert [name[-1] for name in fetched(reloads).split()] == list(ALPHABET)


def test_another_server_with_the_same_numbers_and_other_names() -> None:
    first, second = sliding(ALPHABET, 6), sliding(ALPHABET.upper(), 6)
    reloads = [*first[:8], *second[7:12], *first[12:]]
    assert fetched(reloads) == fetched(reloads, plain=True)


def test_names_that_come_in_a_ring() -> None:
    names = [f"{number % 8}.ts" for number in range(40)]
    missed = sliding(names, 5)
    reloads = [*missed[:10], *missed[19:]]
    assert fetched(reloads) == fetched(reloads, plain=True)
    assert fetched(sliding(names, 5, zero=True)) == " ".join(names)


def test_advertisements_take_the_place_of_entries() -> None:
    reloads: list[Listed] = [(10, "abcd"), (11, "bcXY"), (12, "cXYe"), (13, "XYef")]
    assert fetched(reloads) == fetched(reloads, plain=True)


def test_the_same_entry_again_and_again_is_left_to_the_numbers() -> None:
    reloads: list[Listed] = [(0, "abss"), (1, "bsss"), (2, "ssss"), (3, "sssc")]
    assert fetched(reloads) == fetched(reloads, plain=True) == "a b s s s s c"


@given(
    window=st.integers(1, 12),
    seen=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    first=st.integers(0, 10**6),
    token=st.booleans(),
)
def test_a_source_that_counts_well_is_read_as_it_is(window: int, seen: list[int], first: int, token: bool) -> None:
    """Whatever copies a cache has of a window that slides, since the first that was seen: to the byte."""
    count = numbers.Count()
    for at, start in enumerate([0, *seen]):
        names = [f"{number}.ts?{at if token else ''}" for number in range(start, start + window)]
        body = playlist(first + start, names)
        assert numbers.counted(body, count) is body


@pytest.mark.parametrize("text", [
    "#EXTM3U",
    "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n",
    "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x\n#EXTINF:2,\na.ts\n",
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n",
    "#EXTM3U\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:2,\na.ts\n",
    "#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n#EXTINF:2,\na.ts\n",
    "#EXTM3U\na.ts\n",
    "#EXTM3U\n#EXTINF:\na.ts\n",
])  # fmt: skip
def test_what_is_not_understood_stays_as_it_is(text: str) -> None:
    count = numbers.Count()
    reload(count, sliding(ALPHABET, 4, zero=True)[:5])
    assert count.shift
    assert numbers.counted(text.encode(), count) == text.encode()


def reload(count: Any, reloads: Iterable[Listed]) -> None:
    for first, names in reloads:
        numbers.counted(playlist(first, names), count)


def test_an_end_that_is_told_and_bytes_that_are_no_text_stay() -> None:
    count = numbers.Count()
    reload(count, sliding(ALPHABET, 4, zero=True)[:5])
    body = playlist(0, ["e", "f", "g", "h", "i"], ["#X:\udcff".encode("utf-8", "surrogateescape").decode("latin-1")])
    found = numbers.counted(body + b"#EXT-X-NOTE:\xff\n#EXT-X-ENDLIST\n", count)
    assert found.splitlines()[1] == b"#EXT-X-MEDIA-SEQUENCE:4"
    assert found.endswith(b"\n#EXT-X-NOTE:\xff\n#EXT-X-ENDLIST\n")


def begun_anew(head: str) -> tuple[Reader, list[str]]:
    """Who has read a playlist whose numbers began anew, and its last lines."""
    reader = Reader()
    for first, names in [*sliding(ALPHABET, 6)[:5], (0, "A")]:
        reader.reload(playlist(first, names, [head]))
    return reader, reader.reload(playlist(0, "AB", [head]))


def test_what_was_encrypted_with_its_number_is_told_that_number() -> None:
    reader, lines = begun_anew(KEY)
    at = lines.index("B")
    assert lines[at - 2 : at] == ["#EXTINF:2.000,", f'{KEY[:-1]}#1",IV=0x{1:032x}']
    assert reader.fetched[-2:] == ["A", "B"]


def test_a_vector_that_is_told_stays() -> None:
    _, lines = begun_anew(f"{KEY},IV=0x1")
    assert [line for line in lines if "KEY" in line] == [f'{KEY[:-1]}#1",IV=0x1']


@pytest.mark.parametrize(("head", "given"), [
    ('#EXT-X-MAP:URI="init.mp4?a=1",BYTERANGE="10@0"', '#EXT-X-MAP:URI="init.mp4?a=1#1",BYTERANGE="10@0"'),
    ('#EXT-X-MAP:BYTERANGE="10@0",URI="a"', '#EXT-X-MAP:BYTERANGE="10@0",URI="a#1"'),
    ('#EXT-X-MAP:URI="a#b"', '#EXT-X-MAP:URI="a#b"'),
])  # fmt: skip
def test_an_initialisation_is_loaded_again_from_an_encoder_that_began_anew(head: str, given: str) -> None:
    _, lines = begun_anew(head)
    assert [line for line in lines if "MAP" in line] == [given]
    reader = Reader()
    for _, names in sliding(ALPHABET, 4)[:5]:
        lines = reader.reload(playlist(0, names, [head]))
    assert head in lines, "the encoder is the same"


def test_byte_ranges_of_one_file() -> None:
    count, found = numbers.Count(), b""
    for start in range(4):
        ranges = "".join(f"#EXTINF:2,\n#EXT-X-BYTERANGE:10@{10 * (start + at)}\nall.ts\n" for at in range(4))
        found = numbers.counted(f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n{ranges}".encode(), count)
    assert b"#EXT-X-MEDIA-SEQUENCE:3\n" in found


def test_byte_ranges_that_tell_their_place_at_the_head_alone() -> None:
    """Each goes on where the one before ended, and lengths repeat: the same text is another entry."""
    count, lengths = numbers.Count(), [1000 + number * 7 % 3 for number in range(60)]
    for first in range(50):
        lines = ["#EXTM3U", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, first + 6):
            place = f"@{sum(lengths[:number])}" if number == first else ""
            lines += ["#EXTINF:2,", f"#EXT-X-BYTERANGE:{lengths[number]}{place}", "all.ts"]
        body = "\n".join([*lines, ""]).encode()
        assert numbers.counted(body, count) == body


@pytest.mark.parametrize("behind", [0, 1, 2, 3])
def test_another_server_whose_window_is_shorter_and_that_is_behind(behind: int) -> None:
    names = [f"{number}.ts" for number in range(100)]
    reloads = [
        (end - 12, names[end - 12 : end])
        if end // 2 % 2
        else (end - behind - 6, names[end - behind - 6 : end - behind])
        for end in range(12, 100)
    ]
    assert fetched(reloads) == fetched(reloads, plain=True)


def test_two_encoders_that_count_on_their_own_behind_one_address() -> None:
    """That with the higher numbers is followed, as by streamlink itself; the other one when it is there alone."""
    ends = range(400)
    reloads: list[Listed] = [
        (994 + end, [f"a{number}" for number in range(994 + end, 1000 + end)])
        if end // 4 % 2 == 0
        else (194 + end, [f"b{number}" for number in range(194 + end, 200 + end)])
        for end in ends
    ]
    alone: list[Listed] = [(594 + end, [f"b{number}" for number in range(594 + end, 600 + end)]) for end in range(60)]
    plain = fetched(reloads, plain=True).split()
    assert len(plain) <= len(fetched(reloads).split()) <= len(plain) + 4 * numbers.LEAPS + 16
    found = fetched([*reloads, *alone]).split()
    assert found[-50:] == [f"b{number}" for number in range(609, 659)]


def test_advertisements_that_come_again_and_are_put_in_late() -> None:
    def name(number: int) -> str:
        return f"ad{number % 10}.ts" if number // 10 % 2 else f"{number}.ts"

    reloads: list[Listed] = [
        (end - 6, [*(name(number) for number in range(end - 6, end - 1)), f"{end - 1}.ts"]) for end in range(6, 90)
    ]
    assert fetched(reloads) == fetched(reloads, plain=True)


def test_what_is_remembered_is_bounded() -> None:
    count = numbers.Count()
    names = [str(number) for number in range(3 * numbers.REMEMBERED)]
    reload(count, [(first, names[first : first + 500]) for first in range(0, len(names) - 500, 400)])
    assert len(count.given) == numbers.REMEMBERED
