# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program of every step is made of: what it gets to know, how it gives files their names, and its report.

Run as `python3 -m streamvaultd.jobs.after.NAME` in a scope of its own. Reads one JSON object (StepSpec) from stdin,
and writes its report: {"ok": true, "files": […], "notes": […]}, or {"ok": false, "error": …} with "forGood": true if
no later try would help. Exit status: 0 done, 1 failed (the report says why), 2 no usable input.

It may be killed at any point and is run again then: drafts are made in its work folder, get their names when they are
whole and on disk, and stay linked there until the daemon has read the report. So a file of that name is known for its
own by being the very same, and one that is anybody else's is never replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from streamvaultd.base.durable import sync_folder
from streamvaultd.core import ranges
from streamvaultd.jobs.after.belongings import belongs
from streamvaultd.jobs.join import output
from streamvaultd.jobs.join.passes import Progress

FOLDER_MODE: Final = 0o750
SAID_MAX: Final = 200
LOCAL: Final = ("-v", "error", "-protocol_whitelist", "file,pipe")
"""What every call of ffmpeg and ffprobe begins with: it opens nothing but files, whatever the media say."""


class StepFailed(Exception):
    """The step has not done what it was to do; `for_good`: no later try would."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


class MediaPart(msgspec.Struct, rename="camel", frozen=True):
    """A file of the result."""

    path: Path
    bytes: int
    duration_ms: int | None = None
    on_air: tuple[tuple[float, float, float], ...] = ()
    """As ResultPart of jobs/made.py has it."""


class Title(msgspec.Struct, frozen=True):
    """What the broadcast was called from a moment on (µs since 1970); 0: from its beginning."""

    at: int
    title: str
    category: str


class SpecSegment(msgspec.Struct, rename="camel", frozen=True):
    """When a segment was recorded (µs since 1970)."""

    number: int
    started: int | None = None
    media_at: int | None = None
    ended: int | None = None


class MadeFile(msgspec.Struct, frozen=True):
    """A file that a step has made."""

    path: Path
    bytes: int
    sha256: str
    step: str = ""


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a remote has, found to be equal at this moment (µs since 1970); `path` is behind the remote's."""

    remote: Annotated[str, msgspec.Meta(max_length=1000)]
    path: Annotated[str, msgspec.Meta(max_length=8192)]
    bytes: Annotated[int, msgspec.Meta(ge=0, le=ranges.BYTES.high)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}\\Z")]
    at: Annotated[int, msgspec.Meta(ge=0, le=ranges.DATE.high)]


class UploadOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Where to upload to, and how fast; `config` is a descriptor of rclone's configuration, None if there is none."""

    remotes: tuple[str, ...]
    bandwidth: int | None = None
    config: int | None = None


class StepSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What a step gets to know. `result` is the first of `parts`; all that is made has to be below `folder`.

    `policy` is that of the recording, `made` what earlier steps made of it, `seams` as the join measured them (their
    fields have the names of core/model.SeamRecord), `work` a folder for drafts. `kept` are parts that stand beside the
    result, `manifest` and `chat` further files; `is_chat_due`: there will be a chat. Dates are µs since 1970.
    """

    recording: int
    step: str
    streamer: str
    folder: Path
    result: Path
    parts: tuple[MediaPart, ...]
    started: int
    ended: int
    work: Path
    report: Path
    progress: Path
    memory: int
    url: str = ""
    site_id: str = ""
    title: str = ""
    category: str = ""
    titles: tuple[Title, ...] = ()
    segments: tuple[SpecSegment, ...] = ()
    seams: tuple[dict[str, Any], ...] = ()
    made: tuple[MadeFile, ...] = ()
    policy: dict[str, Any] = msgspec.field(default_factory=dict)
    kept: tuple[Path, ...] = ()
    manifest: Path | None = None
    chat: Path | None = None
    chat_channel: str = ""
    is_chat_due: bool = False
    upload: UploadOrder | None = None

    @property
    def duration_ms(self) -> int | None:
        """Of all parts together, None if that of one is not known."""
        known = [part.duration_ms for part in self.parts if part.duration_ms is not None]
        return sum(known) if known and len(known) == len(self.parts) else None


class Making:
    """What the step makes."""

    def __init__(self, spec: StepSpec) -> None:
        self._spec = spec
        self._progress = Progress(spec.progress)
        self.files: list[MadeFile] = []
        self.notes: list[str] = []
        self.uploads: list[Uploaded] = []

    def note(self, text: str) -> None:
        """Something that people should know of what was made."""
        self.notes.append(text)

    def progress(self, done: int, total: int) -> None:
        """So much of it is done."""
        self._progress(done, total)

    def has(self, draft: Path, final: Path) -> bool:
        """Whether an earlier try, which was killed, has given the draft its name; then it is one of `files`."""
        if not (draft.is_file() and final.is_file()) or final.is_symlink() or not final.samefile(draft):
            return False
        self.publish(draft, final)
        return True

    def publish(self, draft: Path, final: Path) -> None:
        """Give a whole draft its name, one of the result's; what is there of that name is never replaced.

        Raises StepFailed for good if that is something else than the draft.
        """
        if not belongs(final, self._spec.result):
            raise StepFailed(f"{final} has no name that a file of {self._spec.result} can have", for_good=True)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
        self._make_folder(final.parent)
        self._link(draft, final, digest)
        sync_folder(final.parent)
        self.files.append(MadeFile(path=final, bytes=size, sha256=digest))

    def _link(self, draft: Path, final: Path, digest: str) -> None:
        try:
            if output.link(draft, final):
                return
            output.rename_without_replacing(draft, final)
        except FileExistsError:
            if not _is_same(draft, final, digest):
                raise StepFailed(f"{final} is there already, and another file", for_good=True) from None

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            sync_folder(folder.parent)

    def command(self, argv: Sequence[str]) -> str:
        """What a program writes; raises StepFailed with what it said last if it fails."""
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, errors="replace"
            )
        except FileNotFoundError:
            raise StepFailed(f"{argv[0]} is not installed") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise StepFailed(f"{argv[0]} gave {done.returncode}: {said[-1][:SAID_MAX] if said else 'it said nothing'}")
        return done.stdout


Work = Callable[[StepSpec, Making], None]


def _is_same(draft: Path, final: Path, digest: str) -> bool:
    """Whether a file that has the name is the draft itself, or has its bytes."""
    if final.is_symlink() or not final.is_file():
        return False
    if draft.exists() and final.samefile(draft):
        return True
    with final.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def perform(spec: StepSpec, work: Work) -> bool:
    """Do it, and write the report; True if it is done. Raises OSError if no report can be written."""
    made = Making(spec)
    try:
        spec.work.mkdir(mode=FOLDER_MODE, exist_ok=True)
        work(spec, made)
        report: dict[str, Any] = {"ok": True, "files": [_told(file) for file in made.files], "notes": made.notes}
    except StepFailed as error:
        report = {"ok": False, "error": str(error), "forGood": error.for_good}
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report = {"ok": False, "error": f"{where}{error.strerror or error}"}
    if made.uploads:  # those of a try that failed elsewhere, too
        report["uploads"] = msgspec.to_builtins(made.uploads)
    output.write_atomically(spec.report, json.dumps(report, indent=1).encode() + b"\n")
    return bool(report["ok"])


def _told(file: MadeFile) -> dict[str, Any]:
    return {"path": str(file.path), "bytes": file.bytes, "sha256": file.sha256}


def parse_spec(text: bytes) -> StepSpec:
    """The program's input; raises msgspec.DecodeError and UnicodeDecodeError."""
    return msgspec.json.decode(text, type=StepSpec, dec_hook=lambda kind, value: kind(value))


def run(work: Work) -> int:
    """The program: its exit status."""
    os.umask(0o027)
    try:
        spec = parse_spec(sys.stdin.buffer.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        sys.stderr.write(f"error: cannot read what is to be done: {error}\n")
        return 2
    try:
        is_done = perform(spec, work)
    except OSError as error:
        sys.stderr.write(f"error: cannot write the report: {error}\n")
        return 1
    return 0 if is_done else 1


def fresh(path: Path) -> Path:
    """A draft of this name that nothing is left of."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path
