# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of results: made of a template and of what a site says, fit for every file system (ext4, exFAT, NTFS). Pure.

Nothing that a title contains leads out of its folder, hides the file, or looks like an option of a command.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import Final

NAME_BYTES_MAX: Final = 200
"""Of a file's name without its suffix: file systems have 255 for both, and a job has a longer suffix."""

START: Final = "%Y-%m-%dT%H-%M-%S"
"""How {start} is written where the template does not say."""

PLAIN: Final = frozenset({"streamer", "start", "recording", "stream"})
"""Fields that are known from the beginning, and short."""

CUT_FIRST: Final = ("title", "category", "id", "quality")
"""Fields whose text comes from the site, in the order in which they are shortened."""

FIELDS: Final = PLAIN | frozenset(CUT_FIRST)

_JOINERS: Final = "\u200c\u200d" + "".join(map(chr, range(0xE0020, 0xE0080)))
"""Joiners and tags: not printable by themselves, but without them some emoji fall apart, and some words are others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFacts:
    """What a name can tell; `start` knows its time zone. "" where the site says nothing."""

    streamer: str
    start: datetime
    recording: int
    stream: int
    id: str = ""
    title: str = ""
    category: str = ""
    quality: str = ""


class _Start:
    """{start} takes what strftime(3) does, or a width."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def __str__(self) -> str:
        return self._moment.strftime(START + ("%z" if self._moment.utcoffset() else "Z"))

    def __format__(self, spec: str) -> str:
        return self._moment.strftime(spec) if "%" in spec else format(str(self), spec)


def fill(template: str, facts: NameFacts, limit: int = NAME_BYTES_MAX) -> str:
    """The template's text, of at most `limit` bytes: of what is too long, the title is cut first.

    Raises ValueError for what is no template.
    """
    texts = {name: tidy(getattr(facts, name)) for name in CUT_FIRST}
    for name in CUT_FIRST:
        excess = len(_filled(template, facts, texts).encode()) - limit
        if excess > 0:
            texts[name] = cut(texts[name], len(texts[name].encode()) - excess)
    return cut(_filled(template, facts, texts), limit)


def _filled(template: str, facts: NameFacts, texts: dict[str, str]) -> str:
    filled = template.format(
        streamer=facts.streamer, start=_Start(facts.start), recording=facts.recording, stream=facts.stream, **texts
    )
    return " ".join(filled.split())


def tidy(text: str) -> str:
    """One line of what can be printed: no control characters, marks of direction or surrogates, and single spaces."""
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(map(_printed, composed)).split())


def _printed(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) == "Cn" and not _is_none(ord(character)):
        return character  # it is newer than our tables, and most likely an emoji
    return "" if unicodedata.category(character) == "Cf" else " "


_NONE: Final = ((0x2065, 0x2065), (0xFDD0, 0xFDEF), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))
"""Of what is not assigned: no characters, and those that are to show nothing."""


def _is_none(code: int) -> bool:
    """Whether what is not assigned will never be seen."""
    return code & 0xFFFE == 0xFFFE or any(low <= code <= high for low, high in _NONE)


def cut(text: str, size: int) -> str:
    """As much of it as fits into so many bytes: whole characters, as people see them."""
    if len(text.encode()) <= size:
        return text
    import regex  # a megabyte of tables, which only a name that is too long needs

    used, end = 0, 0
    for found in regex.finditer(r"\X", text):
        used += len(found[0].encode())
        if used > size:
            break
        end = found.end()
    return text[:end].rstrip()


def safe(name: str, fallback: str) -> str:
    """The name as every file system takes it; `fallback` if nothing is left of it."""
    from pathvalidate import sanitize_filename  # megabytes, and only the end of a recording needs them

    bare = name.lstrip(" .-").rstrip(" .")
    if bare.strip(_JOINERS) == "":
        return fallback
    base, dot, rest = bare.partition(".")  # DOS takes what is before the first dot for a device, spaces or not
    made = sanitize_filename(f"{base.rstrip()}{dot}{rest}", replacement_text="_", platform="universal", max_len=1000)
    return made if made.strip("_") else fallback


def clash(one: str, other: str) -> bool:
    """Whether files of two results could have the same name: a result may be several, NAME.part2.ts and so on.

    Some file systems take capitals for small letters, and composed characters for others.
    """
    return not _forms(one).isdisjoint(_forms(other))


_SUFFIX: Final = re.compile(r"(?:\.(?:part|kept)\d+(?:-\d+)?)?(?:\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,5})?\Z", re.ASCII)


def _forms(name: str) -> set[str]:
    """The name as all file systems see it, and without each of what could have been put behind it.

    Nobody can tell the end of a title from a suffix: "Stream on twitch.tv", "Foo.part2.part3".
    """
    form = unicodedata.normalize("NFC", name.casefold())
    forms = set()
    while form not in forms:
        forms.add(form)
        last_but_one = max(0, form.rfind(".", 0, form.rfind(".")))  # a suffix has two dots, and a name may have many
        form = form[:last_but_one] + _SUFFIX.sub("", form[last_but_one:], count=1)
    return forms


def numbered(name: str, taken: Collection[str]) -> str:
    """The name, or with the first number that makes it differ from all that are taken."""
    used = set(chain.from_iterable(map(_forms, taken)))
    suffixes = chain(("",), (f" ({number})" for number in count(2)))
    names = (cut(name, NAME_BYTES_MAX - len(suffix)) + suffix for suffix in suffixes)
    return next(each for each in names if used.isdisjoint(_forms(each)))
