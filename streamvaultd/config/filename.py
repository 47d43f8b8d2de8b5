# SPDX-License-Identifier: GPL-3.0-or-later
"""How a joined file may be called."""

from __future__ import annotations

import re
import string
from typing import Any, Final

from streamvaultd.config.kinds import SettingKind, Unfit, text

TEMPLATE_FIELDS: Final = frozenset({"streamer", "start", "recording", "stream"})


def check_template(value: Any) -> str:
    """A file name template: its text if it is usable, else ValueError with the reason."""
    template = text(value)
    try:
        used = [(name, spec) for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise Unfit(str(error)) from None
    names = {name for name, _ in used}
    if unknown := sorted(names - TEMPLATE_FIELDS):
        raise Unfit(f"'{unknown[0]}' is none of its fields ({', '.join(sorted(TEMPLATE_FIELDS))})")
    if "recording" not in names:
        raise Unfit("it must contain {recording}, so that no two recordings have one name")
    if "/" in template or not template.isprintable() or template.startswith("."):
        raise Unfit("it must be a file name, without '/' and control characters, and not beginning with '.'")
    if not all(re.fullmatch(r"[<>^]?\d{0,2}d?", spec or "", re.ASCII) for _, spec in used):
        raise Unfit("what follows the ':' of a field may be a width such as 04d")
    _check_longest(template)
    return template


NAME_BYTES_MAX: Final = 200
"""Of a file's name without its suffix: file systems have 255 for both, and a job has a longer suffix."""


def _check_longest(template: str) -> None:
    try:
        name = template.format(streamer="x" * 64, start="x" * 20, recording=10**9, stream=10**9)
    except ValueError as error:
        raise Unfit(str(error)) from None
    if len(name.encode()) > NAME_BYTES_MAX:
        raise Unfit(f"names of files may become longer than {NAME_BYTES_MAX} bytes")


FILENAME: Final = SettingKind(check_template, "text with {recording} in it")
