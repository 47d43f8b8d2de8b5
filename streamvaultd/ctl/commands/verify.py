# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl verify: is a media file sound, and where is it not? Needs no daemon for a file."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

from streamvaultd.base.units import format_size
from streamvaultd.ctl.options import Command, argument, command, option
from streamvaultd.ctl.outcome import ExitCode, Failed
from streamvaultd.ctl.session import Session
from streamvaultd.ctl.show.result import Part, kept_facts, parse_result
from streamvaultd.ctl.show.text import Line, Span, Style, escape, format_elapsed, line, plural
from streamvaultd.media.inspect import Inspection, Problem, Soundness, inspect_file

DECODER_LINES_MAX = 20
STYLES = {Soundness.SOUND: Style.GOOD, Soundness.DAMAGED: Style.BAD, Soundness.UNKNOWN: Style.BUSY}


@command("verify")
@argument("target", "FILE|RECORDING", complete="file")
@option("--decode", is_flag=True, help="Decode it with ffmpeg, too; takes long.")
def verify(session: Session, *, target: str, decode: bool) -> ExitCode:
    """Look whether a media file is sound.

    A file (anything with a slash, or that is there), or the result of a recording, all parts of it. Says what is
    wrong, and where; of what is kept beside a result, or was made of it, whether it is there as it was. Exit status 1
    unless all is well.
    """
    is_file = "/" in target or Path(target).exists()
    parts = [Part(target, 0, None)] if is_file else results_of(session, target)
    are_sound = [
        _look_at_kept(session, part) if part.is_kept else _look(session, part.path, decode=decode) for part in parts
    ]
    are_sound += [] if is_file else [_look_at_made(session, part) for part in _made_of(session, target)]
    return ExitCode.DONE if all(are_sound) else ExitCode.FAILED


def _look(session: Session, path: str, *, decode: bool) -> bool:
    """Say what is wrong with a file; whether it is sound."""
    try:
        found = inspect_file(path)
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}", hint="is it a file, and may you read it?") from error
    if decode:
        _decode(path, found)
    if not session.show_json(_answer(path, found)):
        session.show([_verdict(path, found), *(_problem_line(problem) for problem in found.problems), *_rest(found)])
    return found.soundness is Soundness.SOUND


def _look_at_made(session: Session, part: Part) -> bool:
    """Say whether what a step has made is as it was then; somebody may have changed it, and may do so."""
    verdict = _compare(part)
    abouts = {"missing": "a step has made it", "changed": "it is not what a step has made"}
    if not session.show_json({"path": part.path, "isMade": True, "bytes": part.bytes, "verdict": verdict}):
        about = abouts.get(verdict, "as a step has made it")
        shown = Span("as made" if verdict == "same" else verdict, Style.BUSY if verdict == "same" else Style.BAD)
        session.show([(Span(f"{escape(part.path)}: "), shown, Span(f" ({format_size(part.bytes)}; {about})"))])
    return verdict == "same"


def _compare(part: Part) -> str:
    """Whether a file has the bytes that it had: same, changed, or missing."""
    try:
        with Path(part.path).open("rb") as file:
            is_same = part.sha256 is None or hashlib.file_digest(file, "sha256").hexdigest() == part.sha256
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        raise Failed(f"cannot read {part.path}: {error.strerror}", hint="may you read it?") from error
    return "same" if is_same else "changed"


def _look_at_kept(session: Session, part: Part) -> bool:
    """Say whether it is as the join made it. Ranges of a segment are no film: nothing else is looked into."""
    answer: dict[str, object] = {"path": part.path, "isKept": True, "bytes": part.bytes}
    verdict, about = {
        "missing": ("missing", "it was kept beside the result"),
        "changed": ("damaged", "it is not what was kept"),
        "same": ("kept", "not looked into"),
    }[_compare(part)]
    is_well = verdict == "kept"
    if not session.show_json(answer | {"verdict": verdict}):
        shown = Span(verdict, Style.BUSY if is_well else Style.BAD)
        session.show([(Span(f"{escape(part.path)}: "), shown, Span(f" ({kept_facts(part)}; {about})"))])
    return is_well


def results_of(session: Session, recording: str) -> list[Part]:
    """All parts of what was joined."""
    found = session.get(recording)
    if found.path is None:
        why = found.detail or ("it has no file" if found.is_final else "it is not joined yet")
        raise Failed(f"cannot verify {recording}: {why}", hint=f"'streamvaultctl status {recording}' tells more")
    parts = parse_result(session.call("ListParts", recording=recording)).parts
    return list(parts) if found.path in [part.path for part in parts] else [Part(found.path, 0, None)]


def _made_of(session: Session, recording: str) -> list[Part]:
    """The files that steps have made of it."""
    steps = parse_result(session.call("ListParts", recording=recording)).steps
    return [file for step in steps for file in step.files if step.status == "done"]


def _decode(path: str, found: Inspection) -> None:
    """What ffmpeg complains of; a file that it decodes in silence is sound whatever its format.

    The media may be hostile and the caller root: ffmpeg can read this file and the system's, and nothing else.
    """
    import shutil
    import subprocess  # what every other command can do without

    from streamvaultd.scopes.confine import confine

    program = os.path.realpath(shutil.which("ffmpeg") or "ffmpeg")
    local = ["-protocol_whitelist", "file,pipe"]
    command = ["ffmpeg", "-nostdin", "-v", "error", *local, "-i", f"file:{path}", "-f", "null", "-"]
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=partial(confine, read=[os.path.realpath(path), program], write=[], has_network=False),
        )
    except OSError as error:
        raise Failed(f"cannot run ffmpeg: {error.strerror}", hint="apt install ffmpeg") from error
    with process:
        for count, complaint in enumerate(process.stderr or ()):
            if count < DECODER_LINES_MAX:
                found.note(0, "decoder", complaint.strip())
            else:
                found.count += 1
    if process.returncode and not found.count:
        found.note(0, "decoder", f"ffmpeg gave {process.returncode}")
    found.is_known = True


def _verdict(path: str, found: Inspection) -> Line:
    """One line: the file, the verdict, and what the file is."""
    facts = [found.container.value.removeprefix("."), format_size(found.size)]
    if found.duration_ms is not None:
        facts.append(format_elapsed(found.duration_ms * 1000))
    if found.packets is not None:
        facts.append(plural(found.packets, "packet"))
    if found.count:
        facts.append(plural(found.count, "problem"))
    if found.doubts:
        facts.append(plural(found.doubts, "doubt"))
    elif found.soundness is Soundness.UNKNOWN:
        facts.append("of a format that only --decode can look into")
    verdict = Span(found.soundness.value, STYLES[found.soundness])
    return (Span(f"{escape(path)}: "), verdict, Span(f" ({', '.join(facts)})"))


def _problem_line(problem: Problem) -> Line:
    if problem.kind == "decoder":
        return line(f"  decoder: {escape(problem.text)}")
    when = "" if problem.at_ms is None else f" ({format_elapsed(problem.at_ms * 1000)} in)"
    return line(f"  byte {problem.offset}{when}: {problem.kind}: {escape(problem.text)}")


def _rest(found: Inspection) -> list[Line]:
    more = found.count + found.doubts - len(found.problems)
    return [line(f"  and {plural(more, 'problem')} more")] if more else []


def _answer(path: str, found: Inspection) -> dict[str, object]:
    return {
        "path": path,
        "verdict": found.soundness.value,
        "format": found.container.value.removeprefix("."),
        "bytes": found.size,
        "durationMs": found.duration_ms,
        "packets": found.packets,
        "problemCount": found.count + found.doubts,
        "problems": [
            {"offset": problem.offset, "atMs": problem.at_ms, "kind": problem.kind, "text": problem.text}
            for problem in found.problems
        ],
    }


COMMANDS: dict[str, Command] = {"verify": verify}
