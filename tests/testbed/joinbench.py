# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.testbed.joinbench [--size GIB] [--rounds N] [--folder F] [--image KIND]: joining, side by side.

Two overlapping segments are joined by the job (in each of its ways), copied by cp(1), and put together by ffmpeg's
concat demuxer and by mkvmerge, in turn, in the same folder. Each begins with a cold cache, and counts until its result
and its name are on disk: sync(1) of the file and its folder, as the job does itself. cp copies as many bytes as the
result has, out of one file. The folder's file system decides whether extents can be shared; `--image xfs` makes one in
a loop device for it. Prints a table and JSON: seconds (median), as a ratio to cp, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamvaultd.media import ts
from tests.fakes.media import MediaSpec, ensure_media

OVERLAP = 12 << 20
CHUNK = 16 << 20
APPEND_NEVER = str(1 << 62)
JOIN = (
    "import sys\n"
    "from pathlib import Path\n"
    "from streamvaultd.jobs.join.main import Join\n"
    "from streamvaultd.jobs.join.spec import Spec\n"
    "folder, append_min = Path(sys.argv[1]), int(sys.argv[2])\n"
    "segments = tuple(folder / f'segment_00{n}.ts' for n in (1, 2))\n"
    "spec = Spec(recording=1, segments=segments, output=folder / 'joined', report=folder / 'report.json')\n"
    "assert Join(spec, append_min=append_min).run(), (folder / 'report.json').read_text()\n"
)


def make_segments(folder: Path, size: int) -> None:
    """Two segments of about `size` bytes each, of which the second begins before the first ends.

    At the bit rate of a common broadcast: what a join reads of timestamps follows from hours, and not from bytes.
    """
    media = ensure_media(MediaSpec(seconds=120, size="1280x720", bitrate="6000k"))
    whole = folder / "whole.ts"
    source = f"concat:{'|'.join(str(media.segment(index)) for index in range(media.count))}"
    small = sum(media.segment(index).stat().st_size for index in range(media.count))
    loops = 2 * size // small
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(loops), "-i", source, "-c", "copy", "-f", "mpegts"]
    subprocess.run([*command, str(whole)], check=True)
    middle = whole.stat().st_size // 2 // ts.PACKET * ts.PACKET
    with whole.open("rb") as file:
        copy_to(file.fileno(), 0, middle, folder / "segment_001.ts")
        copy_to(
            file.fileno(), middle - OVERLAP // ts.PACKET * ts.PACKET, whole.stat().st_size, folder / "segment_002.ts"
        )
    whole.unlink()


def copy_to(fd: int, start: int, end: int, path: Path) -> None:
    with path.open("wb") as file:
        while start < end:
            start += file.write(os.pread(fd, min(CHUNK, end - start), start))


def make_whole(folder: Path, size: int) -> None:
    """What cp has to copy: as long as the result."""
    subprocess.run(["cp", str(folder / "segment_001.ts"), str(folder / "whole.ts")], check=True)
    with (folder / "whole.ts").open("ab") as file, (folder / "segment_002.ts").open("rb") as rest:
        rest.seek(OVERLAP // ts.PACKET * ts.PACKET)
        shutil.copyfileobj(rest, file, CHUNK)
    assert (folder / "whole.ts").stat().st_size > size


def restore(folder: Path, size: int) -> None:
    """As before a join: no results, and the first segment as long as it was."""
    for path in folder.iterdir():
        if path.name not in ("segment_001.ts", "segment_002.ts", "whole.ts"):
            path.unlink()
    os.truncate(folder / "segment_001.ts", size)


def measure(command: list[str], out: Path) -> tuple[float, int]:
    """(seconds until it is done and on disk, peak memory in KiB), from a cold cache."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if out.exists():  # the job has synced its result, and others have not
        subprocess.run(["sync", str(out), str(out.parent)], check=True)
    if process.returncode not in (0, 1):  # mkvmerge says 1 for warnings
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.monotonic() - started, usage.ru_maxrss


def commands(folder: Path) -> dict[str, list[str]]:
    first, second, out = (str(folder / name) for name in ("segment_001.ts", "segment_002.ts", "out"))
    (folder / "list.txt").write_text(f"file '{first}'\nfile '{second}'\n")
    found = {
        "cp": ["cp", "--reflink=never", str(folder / "whole.ts"), out],
        "join": [sys.executable, "-c", JOIN, str(folder), "0"],
        "join, copying": [sys.executable, "-c", JOIN, str(folder), APPEND_NEVER],
        "ffmpeg concat": ["ffmpeg", "-v", "quiet", "-f", "concat", "-safe", "0", "-i", str(folder / "list.txt"),
                          "-c", "copy", "-f", "mpegts", out],
    }  # fmt: skip
    if shutil.which("mkvmerge"):
        found["mkvmerge"] = ["mkvmerge", "-q", "-o", out, first, "+", second]
    return found


@contextmanager
def image_of(kind: str | None, folder: Path, size: int) -> Iterator[Path]:
    """`folder`, or a file system of this kind in a loop device below it."""
    if kind is None:
        yield folder
        return
    image, place = folder / "image", folder / "mounted"
    with image.open("wb") as file:
        file.truncate(8 * size + (1 << 30))
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def run(
    folder: Path, size: int, rounds: int, only: list[str] | None, say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Seconds (median), ratio to cp and peak MiB of each way."""
    make_segments(folder, size)
    make_whole(folder, size)
    length = (folder / "segment_001.ts").stat().st_size
    found: dict[str, list[tuple[float, int]]] = {}
    for number in range(rounds):
        for name in only or commands(folder):
            restore(folder, length)
            found.setdefault(name, []).append(measure(commands(folder)[name], folder / "out"))
            say(f"round {number + 1}: {name} {found[name][-1][0]:.2f} s")
    cp = statistics.median(seconds for seconds, _ in found["cp"])
    return {
        name: {
            "seconds": round(statistics.median(seconds for seconds, _ in each), 2),
            "ratio": round(statistics.median(seconds for seconds, _ in each) / cp, 3),
            "peakMiB": round(max(peak for _, peak in each) / 1024, 1),
        }
        for name, each in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.testbed.joinbench", description=__doc__)
    parser.add_argument("--size", type=float, default=2.0, help="GiB of each segment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="WAY", help="of the ways in the table; cp is one that is needed")
    parser.add_argument("--folder", type=Path, help="where (default: a new folder beside this one)")
    parser.add_argument("--image", choices=("ext4", "xfs", "btrfs"), help="a file system of its own, in a loop device")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = int(given.size * (1 << 30))
    with (
        tempfile.TemporaryDirectory(dir=given.folder, prefix="joinbench-") as folder,
        image_of(given.image, Path(folder), size) as place,
    ):
        result = run(place, size, given.rounds, given.only, lambda text: print(text, file=sys.stderr, flush=True))
    print(f"two segments of {given.size} GiB on {given.image or 'this file system'}, median of {given.rounds}")
    print(f"{'way':<16} {'seconds':>8} {'x cp':>7} {'peak MiB':>9}")
    for name, row in result.items():
        print(f"{name:<16} {row['seconds']:>8} {row['ratio']:>7} {row['peakMiB']:>9}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
