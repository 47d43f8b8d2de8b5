# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl export and import: the store in a file, or in another database, and back. Needs no daemon.

What copies is imported when one of the two runs: it brings the databases with it, which no other command needs.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from streamvaultd.ctl.options import Command, argument, command, option
from streamvaultd.ctl.outcome import Failed, OutputClosed, Usage
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.text import escape, line, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from streamvaultd.store.transfer import Copied, Where

STANDARD = "-"
STORE = "SQLite file or URL of the store. [default: the daemon's]"


@command("export")
@argument("target", "FILE|URL|-", complete="file")
@option("--from", name="source", metavar="STORE", help=STORE, complete="file")
def export(session: Session, *, target: str, source: str | None) -> None:
    """Copy the store into a file or a PostgreSQL database.

    All or nothing, and compared afterwards. The daemon may run; while it does not, it is noted that this database has
    everything, and the daemon goes on feeding it from there.
    """
    from streamvaultd.store.transfer import copy, dump_to

    where = _store(source)
    if _is_url(target):
        copied = copy(where, _where(target))
    elif target == STANDARD:
        copied = _to_stdout(where)
    else:
        with _written(Path(target)) as file:
            copied = dump_to(where, file)
    _tell(session, copied, source or str(where), target)


@command("import")
@argument("source", "FILE|URL|-", complete="file")
@option("--to", name="target", metavar="STORE", help=STORE, complete="file")
def import_(session: Session, *, source: str, target: str | None) -> None:
    """Copy a dump or a PostgreSQL database into the store.

    All or nothing, and compared afterwards. The daemon must be stopped. What the store has already must be equal: this
    fills an empty store, or one that was filled so before, and never overwrites.
    """
    from streamvaultd.store.transfer import copy, load_from

    where = _store(target)
    if _is_url(source):
        copied = copy(_where(source), where)
    else:
        with _read(source) as file:
            copied = load_from(file, source if source != STANDARD else "the standard input", where)
    _tell(session, copied, source, target or str(where))


def _store(text: str | None) -> Where:
    """The store that is meant; that of the daemon's settings, as far as they are valid, unless another is named."""
    if text is not None:
        return _where(text)
    from streamvaultd.config import settings as config

    settings, _ = config.load(config.files())
    return settings.store_path


def _is_url(text: str) -> bool:
    return "://" in text


def _where(text: str) -> Where:
    from streamvaultd.store.transfer import parse_where

    try:
        return parse_where(text)
    except ValueError as error:  # which does not show it: there may be a password in it
        hint = "see 'PASSWORDS' in streamvaultctl(1) for where a password is put"
        raise Usage(f"this URL cannot be used: {error}", [hint]) from error


def _to_stdout(where: Where) -> Copied:
    from streamvaultd.store.transfer import dump_to

    try:
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            return dump_to(where, file)
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        raise Failed(f"cannot write the output: {error.strerror}") from error


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that only its owner can read, and that is there when it is complete and on disk, or not at all."""
    from tempfile import NamedTemporaryFile

    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:  # a device or a pipe: not to be replaced
                yield file
            return
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                with suppress(OSError):
                    Path(file.name).unlink()
                raise
    except OSError as error:
        hint = "is there room, and may you write there?"
        raise Failed(f"cannot write {path}: {error.strerror}", hint=hint) from error


@contextmanager
def _read(name: str) -> Iterator[IO[bytes]]:
    """A file from its beginning, which can be read twice."""
    import shutil
    from tempfile import TemporaryFile

    try:
        is_stdin = name == STANDARD
        with open(sys.stdin.fileno() if is_stdin else name, "rb", closefd=not is_stdin) as file:
            if file.seekable() and not is_stdin:
                yield file
                return
            with TemporaryFile() as spooled:
                shutil.copyfileobj(file, spooled)
                spooled.seek(0)
                yield spooled
    except OSError as error:
        raise Failed(f"cannot read {name}: {error.strerror}", hint="is it a file, and may you read it?") from error


def _tell(session: Session, copied: Copied, source: str, target: str) -> None:
    counts = ", ".join(plural(count, name.removesuffix("s")) for name, count in copied.rows.items())
    for change in copied.mended:
        session.note(f"not as it was stored: {change}")
    lines = [f"{source} -> {target}: {counts}.", f"{plural(copied.added, 'row')} new there. SHA-256: {copied.sha256}"]
    if target == STANDARD:  # which has the dump
        for text in lines:
            session.note(text)
        return
    answer = {
        "from": source, "to": target, "rows": dict(copied.rows), "added": copied.added, "sha256": copied.sha256,
        "mended": list(copied.mended),
    }  # fmt: skip
    if not session.show_json(answer) and not session.quiet:
        session.show([line(escape(text)) for text in lines])


COMMANDS: dict[str, Command] = {"export": export, "import": import_}
