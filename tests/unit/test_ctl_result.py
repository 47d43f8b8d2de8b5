# SPDX-License-Identifier: GPL-3.0-or-later
"""What streamvaultctl shows of a join: seams, their totals, and the parts of a result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamvaultd.ctl.records import BadAnswer
from streamvaultd.ctl.show.result import missing_text, parse_result, parse_seam, result_fields, seams_text, totals
from tests.fakes.ctl import FakeDaemon, one, run, segment

RESULT = "/srv/media/demo/demo.ts"


def seam(older: int, kind: str = "exact", certainty: str = "proven", **fields: Any) -> dict[str, Any]:
    """A Seam."""
    return {"older": older, "newer": older + 1, "kind": kind, "method": "bytes", "certainty": certainty, **fields}


EXACT = seam(1, overlapBytes=1 << 20, overlapUSec=14_000_000, gapUSec=0)
UNION = seam(2, "union", overlapBytes=1 << 20, gapUSec=0)
GAP = seam(3, "gap", "likely", overlapUSec=0, gapUSec=2_033_300, note="the same may be in both")
UNKNOWN = seam(4, "gap", "unknown")
BREAK = seam(5, "break")


def test_seams_are_listed_with_what_is_missing() -> None:
    ran = run(FakeDaemon().on("ListSeams", {"seams": [EXACT, GAP, UNKNOWN]}), "seams", "demo")
    assert ran.code == 0
    assert ran.out == (
        "SEGMENTS  KIND   METHOD  CERTAINTY  OVERLAP  OVERLAP MS  GAP MS  NOTE\n"
        "001-002   exact  bytes   proven        1.0M       14000       0  -\n"
        "003-004   gap    bytes   likely          0B           0  2033.3  the same may be in both\n"
        "004-005   gap    bytes   unknown         0B           ?       ?  -\n"
        "\n"
        "3 seams listed. Missing: 2033.3 ms in 1 gap, 1 gap of unknown length.\n"
    )


def test_seams_of_all_pages_are_listed() -> None:
    daemon = FakeDaemon().on("ListSeams", {"seams": [EXACT], "next": 1}).on("ListSeams", {"seams": [GAP]})
    assert json.loads(run(daemon, "seams", "demo", "--json=short").out) == [EXACT, GAP]
    assert daemon.calls == [("ListSeams", {"recording": "demo"}), ("ListSeams", {"recording": "demo", "after": 1})]


def test_totals_tell_the_worst() -> None:
    every = [parse_seam(each) for each in (UNION, GAP, EXACT, BREAK, EXACT)]
    found = totals(every)
    assert seams_text(found) == "5 (2 exact, 1 union, 1 gap, 1 break), likely"
    assert (found.overlap_bytes, found.overlap, missing_text(found)) == (3 << 20, 28_000_000, "2033.3 ms in 1 gap")
    assert totals([*every, parse_seam(UNKNOWN)]).certainty == "unknown"
    assert totals([parse_seam(seam(1, certainty="guessed")), parse_seam(UNKNOWN)]).certainty == "guessed"
    assert missing_text(totals([parse_seam(EXACT)])) == ""


def test_status_tells_the_totals_of_a_joined_recording() -> None:
    daemon = FakeDaemon().on("Get", one("completed", path=RESULT)).on("ListSegments", {"segments": [segment()]})
    daemon.on("ListSeams", {"seams": [EXACT, GAP]}).on(
        "ListParts", {"parts": [{"path": RESULT, "bytes": 7}], "notes": []}
    )
    shown = run(daemon, "status", "demo").out
    assert "Seams: 2 (1 exact, 1 gap), likely\n" in shown
    assert "Overlap: 1.0M, 14000 ms, kept once\n" in shown
    assert "Missing: 2033.3 ms in 1 gap\n" in shown
    assert "Parts" not in shown
    assert "Notes" not in shown


def test_a_single_segment_has_nothing_to_tell() -> None:
    assert result_fields(parse_result({"parts": [{"path": RESULT, "bytes": 7}], "notes": []}), []) == []


def test_parts_are_listed_where_there_are_several() -> None:
    parts = [{"path": RESULT, "bytes": 1 << 20, "durationUSec": 61_000_000}, {"path": "/x.part2.mp4", "bytes": 5}]
    fields = result_fields(parse_result({"parts": parts, "notes": ["part 2 begins in segment_002.ts"]}), [])
    assert [(label, line[0].text) for label, line in fields] == [
        ("Parts", f"{RESULT} (1.0M, 1min 1s)"),
        ("", "/x.part2.mp4 (5B)"),
        ("Notes", "part 2 begins in segment_002.ts"),
    ]


def test_what_is_kept_beside_a_result_is_no_part_of_it() -> None:
    kept = {"path": "/x.kept2.ts", "bytes": 1 << 20, "isKept": True, "segment": 2, "sha256": "00"}
    fields = result_fields(parse_result({"parts": [{"path": RESULT, "bytes": 7}, kept], "notes": []}), [])
    assert [(label, line[0].text) for label, line in fields] == [
        ("Kept", "/x.kept2.ts (1.0M of segment 002 that may not be in the result)")
    ]


@pytest.mark.parametrize("answer", [{"parts": []}, {"parts": [{"bytes": 1}], "notes": []}, {"notes": []}])
def test_an_answer_of_another_shape_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_result(answer)


def test_status_tells_what_is_made_of_it() -> None:
    picture = {"path": "/srv/media/demo/demo-thumb.jpg", "bytes": 5, "sha256": "ab"}
    progress = {"doneBytes": 1, "totalBytes": 4}
    steps = [
        {"name": "thumbnail", "status": "done", "tries": 1, "files": [picture]},
        {"name": "sheets", "status": "running", "tries": 0, "files": [], "progress": progress},
        {
            "name": "upload", "status": "due", "tries": 2, "files": [], "why": "it is\nfull",
            "retryAt": {"realtime": 1_795_426_110_740_318},
        },
    ]  # fmt: skip
    daemon = FakeDaemon().on("Get", one("completed", path=RESULT)).on("ListSegments", {"segments": [segment()]})
    daemon.on("ListSeams", {"seams": []})
    daemon.on("ListParts", {"parts": [{"path": RESULT, "bytes": 7}], "notes": [], "steps": steps})
    shown = run(daemon, "status", "demo").out
    assert f"Steps: thumbnail: done ({picture['path']})\n" in shown
    assert "       sheets: running (25%)\n" in shown
    assert "upload: due (again at " in shown
    assert "it is\nfull" not in shown
