# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that uploads a recording: its result, what stands beside it, and its manifest, to remotes of rclone.

A file counts as uploaded when the remote's bytes have the SHA-256 of ours. One remote that does not take it keeps no
other one from having it. It reads media and cannot change them; what it writes is in its work folder. The manifest is
the last to be sent.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamvaultd.base.clock import SystemClock
from streamvaultd.jobs.after.rclone import Rclone, RcloneFailed
from streamvaultd.jobs.after.rclone_config import CONFIG_MAX, CREDENTIAL
from streamvaultd.jobs.after.sending import Outgoing, PlanFile, Sender, Sending
from streamvaultd.jobs.after.step_program import Making, StepFailed, StepSpec, Uploaded, UploadOrder, run

_HARD: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u201b]")


def make(spec: StepSpec, made: Making) -> None:
    """Each remote has all files; raises StepFailed with the reason of each that has not."""
    order = spec.upload
    if order is None or not order.remotes:
        raise StepFailed("no remote is set any more, see [upload] remotes", for_good=True)
    config = _config(order)
    try:
        sender = Rclone(config, spec.work, bandwidth=order.bandwidth, memory=spec.memory)
        send(spec, made, order.remotes, sender)
    finally:
        config.unlink(missing_ok=True)


def send(spec: StepSpec, made: Making, remotes: Sequence[str], sender: Sender) -> None:
    """The work itself, by whatever sends."""
    plan, files = PlanFile(spec.work), _files(spec, made)
    manifest = _manifest(spec, files)
    everything = [*files, *([] if manifest is None else [manifest])]
    gauge = _Gauge(made, sum(file.source.stat().st_size for file in everything) * len(remotes))
    wrong = []
    for remote in remotes:
        folders = (spec.streamer, f"{spec.streamer}/{spec.recording}")
        sending = Sending(
            remote, sender=sender, plan=plan, link=spec.work / "file", folders=folders,
            clock=SystemClock(),
        )  # fmt: skip
        try:
            _send_all(sending, everything, manifest, made, gauge)
        except (StepFailed, RcloneFailed) as error:
            wrong.append(f"{remote}: {error}")
    if wrong:
        raise StepFailed("; ".join(wrong))
    _require_all(spec, manifest)


def _send_all(
    sending: Sending, files: Sequence[Outgoing], manifest: Outgoing | None, made: Making, gauge: _Gauge
) -> None:
    sending.choose([files[0], *([] if manifest is None else [manifest])])
    for file in files:
        found: Uploaded = sending.send(file, gauge.add)
        gauge.finish(found.bytes)
        made.uploads.append(found)


class _Gauge:
    """How much of all is done: whole files, and what of the present one is on its way."""

    def __init__(self, made: Making, total: int) -> None:
        self._made = made
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        """So much of the present one."""
        self._made.progress(min(self._done + count, self._total), self._total)

    def finish(self, size: int) -> None:
        """The present one is there."""
        self._done += size
        self.add(0)


def _config(order: UploadOrder) -> Path:
    """rclone's configuration, in a file of this program's own folder in memory, which goes with it."""
    if order.config is None:
        raise StepFailed(f"the service has no credential {CREDENTIAL}, see UPLOADS in streamvaultd.toml(5)")
    with open(order.config, "rb") as told:  # noqa: PTH123 - of a descriptor
        text = told.read(CONFIG_MAX)
    path = Path(os.environ.get("TMPDIR", "/nowhere")) / CREDENTIAL
    if not path.parent.is_dir():
        raise StepFailed("there is no room for a scratch folder, in which rclone's configuration would be")
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(text)
    return path


def _files(spec: StepSpec, made: Making) -> list[Outgoing]:
    """The result's parts, what steps made of it, and its chat; only the result has to be there."""
    parts = [part.path for part in spec.parts]
    found = [Outgoing(path, name_there(_name(spec, path))) for path in parts]
    beside = [*spec.kept, *(file.path for file in spec.made), *([] if spec.chat is None else [spec.chat])]
    for path in dict.fromkeys(beside):
        if path.is_file() and not path.is_symlink():
            found.append(Outgoing(path, name_there(_name(spec, path))))
        else:
            made.note(f"{path} is not there, and was not uploaded")
    if len({file.name for file in found}) < len(found):
        raise StepFailed("two of its files would have the same name at the remote", for_good=True)
    return found


def name_there(name: str) -> str:
    """A name as remotes have it: some take no control characters, and none that of rclone's own escapes (U+201B)."""
    return _HARD.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _name(spec: StepSpec, path: Path) -> str:
    """Its path below the streamer's folder; the name alone of what is elsewhere."""
    return str(path.relative_to(spec.folder)) if path.is_relative_to(spec.folder) else path.name


def _manifest(spec: StepSpec, files: Sequence[Outgoing]) -> Outgoing | None:
    """A copy of it, for it may be written anew meanwhile."""
    if spec.manifest is None or not files:
        return None
    copy = spec.work / "manifest.json"
    try:
        shutil.copyfile(spec.manifest, copy)
    except FileNotFoundError:
        return None
    return Outgoing(copy, spec.manifest.name)


def _require_all(spec: StepSpec, manifest: Outgoing | None) -> None:
    """What is written behind the steps, a manifest, and behind the broadcast, a chat, may have come too late."""
    if spec.is_chat_due:
        raise StepFailed("its chat is not packed yet")
    if spec.manifest is not None and not (manifest is not None and _has_all(spec, manifest.source)):
        raise StepFailed(f"{spec.manifest} is not written yet")


class _ToldFile(msgspec.Struct):
    name: str


class _Told(msgspec.Struct):
    """Of a manifest, what has to be in it."""

    made: tuple[_ToldFile, ...] = ()


def _has_all(spec: StepSpec, manifest: Path) -> bool:
    try:
        told = msgspec.json.decode(manifest.read_bytes(), type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    named = {file.name for file in told.made}
    return all(_name(spec, file.path) in named for file in spec.made)


if __name__ == "__main__":
    sys.exit(run(make))
