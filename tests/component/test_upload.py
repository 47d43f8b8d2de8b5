# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording is uploaded by a real rclone to a real server: what arrives, once; what a kill at any place leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.component.remote_world import PASSWORD, Webdav

pytestmark = pytest.mark.timeout(300)  # real programs, on whatever machine

MEDIA = os.urandom(3_000_000)
ODD = "-a:b\n\t%41 \\ü😀\u201b\uff1a .ts"
"""The last two are what rclone writes in the place of characters that a file system refuses."""


class Upload:
    """One recording's folder, and what its step is told."""

    def __init__(self, root: Path, name: str = "show.ts", media: bytes = MEDIA) -> None:
        self.root, self.folder = root, root / "recordings" / "demo"
        self.folder.mkdir(parents=True)
        self.jobs, self.scratch = root / "jobs", root / "scratch"
        self.jobs.mkdir()
        self.scratch.mkdir()
        self.result = self.folder / name
        self.result.write_bytes(media)
        self.thumb = self.folder / f"{self.result.stem}-thumb.jpg"
        self.thumb.write_bytes(b"\xff\xd8\xff")
        self.manifest = self.folder / ".stream_3.json"
        self.write_manifest(self.thumb.name)
        self.config: str | None = None
        self.order: dict[str, Any] = {"remotes": ["nas:rec"]}
        made = {"path": str(self.thumb), "bytes": 3, "sha256": "ab", "step": "thumbnail"}
        self.told: dict[str, Any] = {
            "recording": 7, "step": "upload", "streamer": "demo", "folder": str(self.folder),
            "result": str(self.result), "started": 1, "ended": 2, "work": str(self.jobs / "upload-7"),
            "parts": [{"path": str(self.result), "bytes": len(media)}], "report": str(self.jobs / "report.json"),
            "progress": str(self.jobs / "progress"), "memory": 1 << 29, "made": [made],
            "manifest": str(self.manifest),
        }  # fmt: skip
        (self.jobs / "progress").touch()

    def write_manifest(self, *names: str) -> None:
        self.manifest.write_text(json.dumps({"format": 1, "made": [{"name": name} for name in names]}))

    def begin(self) -> subprocess.Popen[str]:
        """Its process, which has been told all."""
        fds: list[int] = []
        if self.config is not None:
            fds.append(os.memfd_create("config"))
            os.write(fds[0], self.config.encode())
            os.lseek(fds[0], 0, os.SEEK_SET)
        told = {**self.told, "upload": {**self.order, "config": fds[0] if fds else None}}
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "streamvaultd.jobs.after.upload"],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=fds, start_new_session=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self.scratch), "TMPDIR": str(self.scratch)},
        )  # fmt: skip
        for fd in fds:
            os.close(fd)
        assert process.stdin is not None
        process.stdin.write(json.dumps(told))
        process.stdin.close()
        return process

    def run(self) -> dict[str, Any]:
        """Run it as the daemon does; its report."""
        report = Path(self.told["report"])
        report.unlink(missing_ok=True)
        process = self.begin()
        assert process.stderr is not None
        with process, process.stderr as said:
            text = said.read()
        told: dict[str, Any] = json.loads(report.read_text())
        assert process.returncode == (0 if told["ok"] else 1), text
        return told

    @property
    def expected(self) -> dict[str, bytes]:
        files = (self.result, self.thumb, self.manifest)
        return {f"rec/demo/{path.name}": path.read_bytes() for path in files}


@pytest.fixture(name="nas")
def _nas(tmp_path: Path) -> Iterator[Webdav]:
    nas = Webdav(tmp_path / "nas")
    yield nas
    nas.kill()


@pytest.fixture(name="upload")
def _upload(tmp_path: Path, nas: Webdav) -> Upload:
    upload = Upload(tmp_path)
    upload.config = nas.config()
    return upload


def sum_of(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_all_that_belongs_to_a_recording_arrives_and_is_told_with_its_sums(nas: Webdav, upload: Upload) -> None:
    """Webdav knows no hash: what is there was read back."""
    told = upload.run()
    assert told["ok"], told
    assert nas.files() == upload.expected
    rows = {each["path"]: each for each in told["uploads"]}
    assert set(rows) == {"demo/show.ts", "demo/show-thumb.jpg", "demo/.stream_3.json"}
    assert rows["demo/show.ts"]["sha256"] == sum_of(MEDIA)
    assert rows["demo/show.ts"]["remote"] == "nas:rec"
    lines = [json.loads(line) for line in (upload.jobs / "progress").read_text().splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] == sum(map(len, upload.expected.values()))
    assert list(upload.scratch.iterdir()) == []


def test_names_mean_nothing_to_rclone(nas: Webdav, tmp_path: Path) -> None:
    upload = Upload(tmp_path / "odd", ODD)
    upload.config = nas.config()
    told = upload.run()
    assert told["ok"], told
    assert sorted(nas.files().values()) == sorted(upload.expected.values())
    assert upload.run()["ok"]  # found again by its name
    assert len(nas.files()) == 3
    assert "rec/demo/-a:b%0A%09%41 \\ü😀%201B\uff1a .ts" in nas.files()


def test_what_is_there_already_is_not_sent_again(nas: Webdav, upload: Upload) -> None:
    assert upload.run()["ok"]
    before = {path: path.stat().st_ino for path in nas.folder.rglob("*.ts")}
    stamps = {path: path.stat().st_mtime_ns for path in nas.folder.rglob("*")}
    for path in (upload.jobs / "upload-7").iterdir():  # all that was remembered
        path.unlink()
    assert upload.run()["ok"]
    assert {path: path.stat().st_mtime_ns for path in nas.folder.rglob("*")} == stamps
    assert {path: path.stat().st_ino for path in nas.folder.rglob("*.ts")} == before


def test_a_file_of_another_is_not_replaced_and_ours_has_a_folder_of_its_own(nas: Webdav, upload: Upload) -> None:
    """As a name that was used before: the only copy of an older recording may be there."""
    theirs = nas.folder / "rec" / "demo" / "show.ts"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"older")
    told = upload.run()
    assert told["ok"], told
    assert theirs.read_bytes() == b"older"
    assert (nas.folder / "rec" / "demo" / "7" / "show.ts").read_bytes() == MEDIA
    assert {each["path"].rpartition("/")[0] for each in told["uploads"]} == {"demo/7"}


def test_where_that_is_taken_too_nothing_is_replaced_and_it_says_so(nas: Webdav, upload: Upload) -> None:
    for folder in ("rec/demo", "rec/demo/7"):
        (nas.folder / folder).mkdir(parents=True, exist_ok=True)
        (nas.folder / folder / "show.ts").write_bytes(b"older")
    told = upload.run()
    assert (told["ok"], told["forGood"]) == (False, False)
    assert told["error"] == "nas:rec: another file is at nas:rec/demo/7/show.ts, and is not replaced"
    assert set(nas.files().values()) == {b"older"}


def test_a_sidecar_of_another_is_not_replaced(nas: Webdav, upload: Upload) -> None:
    (nas.folder / "rec" / "demo").mkdir(parents=True)
    theirs = nas.folder / "rec" / "demo" / "show-thumb.jpg"
    theirs.write_bytes(b"theirs")
    told = upload.run()
    assert told["error"] == "nas:rec: another file is at nas:rec/demo/show-thumb.jpg, and is not replaced"
    assert theirs.read_bytes() == b"theirs"
    theirs.unlink()
    assert upload.run()["ok"]
    assert nas.files() == upload.expected


def when_half_is_there(upload: Upload, nas: Webdav) -> subprocess.Popen[str]:
    """A try that is slow enough to be hit in the middle."""
    upload.order["bandwidth"] = 512 << 10
    process = upload.begin()
    there = nas.folder / "rec" / "demo" / "show.ts"
    while process.poll() is None and not (there.exists() and there.stat().st_size > len(MEDIA) // 4):
        os.sched_yield()
    assert process.poll() is None, "it was too fast to be hit"
    assert there.stat().st_size < len(MEDIA)
    upload.order.pop("bandwidth")
    return process


def test_the_server_is_killed_at_half(nas: Webdav, upload: Upload) -> None:
    process = when_half_is_there(upload, nas)
    nas.kill()
    with process:
        process.wait()
    told = json.loads(Path(upload.told["report"]).read_text())
    assert not told["ok"]
    assert told["error"].startswith("nas:rec: ")
    assert "uploads" not in told
    nas.start()
    assert upload.run()["ok"]
    assert nas.files() == upload.expected


def rclone_of(process: subprocess.Popen[str]) -> int:
    """The process of rclone that a step has started."""
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def test_rclone_is_killed_at_half(nas: Webdav, upload: Upload) -> None:
    process = when_half_is_there(upload, nas)
    os.kill(rclone_of(process), signal.SIGKILL)
    with process:
        process.wait()
    told = json.loads(Path(upload.told["report"]).read_text())
    assert (told["ok"], "uploads" in told) == (False, False)
    assert told["error"] == "nas:rec: rclone ended with status -9, and said nothing"
    assert upload.run()["ok"]
    assert nas.files() == upload.expected


def test_the_step_is_killed_at_half_with_all_of_its_scope(nas: Webdav, upload: Upload) -> None:
    process = when_half_is_there(upload, nas)
    os.killpg(process.pid, signal.SIGKILL)
    with process:
        process.wait()
    assert not Path(upload.told["report"]).exists()
    told = upload.run()
    assert told["ok"], told
    assert nas.files() == upload.expected
    assert {each["path"].rpartition("/")[0] for each in told["uploads"]} == {"demo"}  # its own part was replaced


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("wrong password", "401 Unauthorized"),
        ("gone", "connection refused"),
        ("other name", "didn't find section in config file"),
        ("no type", 'didn\'t find backend called "nonsense"'),
    ],
)
def test_a_remote_that_refuses_is_told_with_its_reason_and_nothing_of_the_configuration(
    nas: Webdav, upload: Upload, config: str, why: str
) -> None:
    texts = {
        "wrong password": nas.config(password="wrong-4711"),  # noqa: S106 - of a test
        "gone": nas.config(),
        "other name": nas.config("other"),
        "no type": "[nas]\ntype = nonsense\n",
    }
    upload.config = texts[config]
    if config == "gone":
        nas.kill()
    told = upload.run()
    assert (told["ok"], told["forGood"]) == (False, False)
    assert told["error"].startswith("nas:rec: ")
    assert why in told["error"]
    assert len(told["error"]) < 300
    assert nas.files() == {}


def test_one_remote_that_is_away_keeps_no_other_from_having_it(nas: Webdav, upload: Upload) -> None:
    assert upload.config is not None
    upload.config += "[away]\ntype = webdav\nurl = http://127.0.0.1:1\nvendor = other\n"
    upload.order["remotes"] = ["away:x", "nas:rec"]
    told = upload.run()
    assert not told["ok"]
    assert told["error"].startswith("away:x: ")
    assert "nas:rec" not in told["error"]
    assert {each["remote"] for each in told["uploads"]} == {"nas:rec"}
    assert nas.files() == upload.expected


def test_a_remote_that_is_full_is_told_and_takes_it_later(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
    nas = Webdav(small)
    try:
        upload = Upload(tmp_path)
        upload.config = nas.config()
        told = upload.run()
        assert not told["ok"]
        assert told["error"].startswith("nas:rec: ")
        assert upload.result.read_bytes() == MEDIA
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        assert upload.run()["ok"]
        assert nas.files() == upload.expected
    finally:
        nas.kill()
        subprocess.run(["umount", "--lazy", small], check=True)


def test_a_remote_that_knows_sha256_is_asked_for_it(upload: Upload, tmp_path: Path) -> None:
    upload.config = f"[nas]\ntype = alias\nremote = {tmp_path / 'there'}\n"
    assert upload.run()["ok"]
    assert (tmp_path / "there" / "rec" / "demo" / "show.ts").read_bytes() == MEDIA


def test_a_remote_that_keeps_other_bytes_is_found_out(upload: Upload, tmp_path: Path, nas: Webdav) -> None:
    """A stand-in for rclone flips a bit on the way: its own word on the transfer is not believed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "rclone"], check=True, capture_output=True, text=True).stdout.strip()
    (folder / "rclone").write_text(
        f'#!/bin/sh\n{real} "$@" || exit\n[ "$1" = copyto ] || exit 0\n'
        f'f={nas.folder}/rec/demo/show.ts; [ -e "$f" ] && printf x | dd of="$f" conv=notrunc status=none\nexit 0\n'
    )
    (folder / "rclone").chmod(0o755)
    upload.told |= {"made": [], "manifest": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        told = upload.run()
    assert told["error"] == "nas:rec: what nas:rec has of show.ts is not what was sent"
    assert "uploads" not in told


def test_without_rclone_or_its_configuration_or_remotes_it_says_what_is_missing(upload: Upload) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        assert upload.run()["error"] == "nas:rec: rclone is not installed"
    upload.config = None
    assert "has no credential rclone.conf" in upload.run()["error"]
    upload.order["remotes"] = []
    told = upload.run()
    assert (told["ok"], told["forGood"]) == (False, True)


def test_a_manifest_or_a_chat_that_comes_later_is_waited_for(nas: Webdav, upload: Upload) -> None:
    upload.write_manifest()
    assert "is not written yet" in upload.run()["error"]
    upload.write_manifest(upload.thumb.name)
    chat = upload.folder / "show.chat.ndjson"
    upload.told["isChatDue"] = True
    assert upload.run()["error"] == "its chat is not packed yet"
    chat.write_text("{}")
    upload.told |= {"isChatDue": False, "chat": str(chat)}
    assert upload.run()["ok"]
    assert nas.files() == upload.expected | {"rec/demo/show.chat.ndjson": b"{}"}


def test_a_sidecar_that_somebody_removed_is_no_reason_not_to_be_done(nas: Webdav, upload: Upload) -> None:
    upload.thumb.unlink()
    told = upload.run()
    assert told["ok"]
    assert told["notes"] == [f"{upload.thumb} is not there, and was not uploaded"]


def test_secrets_are_in_no_argv_and_no_file_that_others_can_read(nas: Webdav, upload: Upload) -> None:
    """The control finds the same secret where it is put on purpose."""
    assert upload.config is not None
    secrets = [
        PASSWORD.encode(),
        next(line for line in upload.config.splitlines() if "pass" in line).split()[2].encode(),
    ]
    process = when_half_is_there(upload, nas)
    try:
        family = [process.pid, rclone_of(process)]
        seen = b"".join(Path(f"/proc/{pid}/{what}").read_bytes() for pid in family for what in ("cmdline", "environ"))
        assert b"copyto" in seen
        assert not any(secret in seen for secret in secrets)
        found = [path for path in upload.root.rglob("*") if path.is_file() and secrets[1] in path.read_bytes()]
        assert [path.name for path in found] == ["rclone.conf"]  # the control: it is somewhere
        assert found[0].parent == upload.scratch
        assert found[0].stat().st_mode & 0o777 == 0o600
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        with process:
            process.wait()
