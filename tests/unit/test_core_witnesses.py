# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever order the witnesses of an end come in, however often, before it or after it: the cause is the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streamvaultd.core.cause import is_death
from streamvaultd.core.evidence import Evidence
from streamvaultd.core.model import Moment, Phase, Recorder, Segment, State
from streamvaultd.core.recording import effects as fx
from streamvaultd.core.recording import events as ev
from streamvaultd.core.recording.machine import step
from streamvaultd.core.recording.verdict import judge
from tests.unit.broadcast import GONE, NO_SPACE, SILENT, UNREACHABLE
from tests.unit.rows import EPOCH, new_recorder

AT = Moment(2000.0, EPOCH + 1_000_000_000)
MEDIA = Moment(1900.0, EPOCH + 900_000_000)

RECORDS = st.sampled_from([
    Evidence(status=0),
    Evidence(status=0, log=(SILENT,)),
    Evidence(status=1, log=(GONE,)),
    Evidence(status=1, log=(UNREACHABLE,)),
    Evidence(status=1, log=(NO_SPACE,)),
    Evidence(status=1),
    Evidence(status=130),
    Evidence(status=-9, oom_kills=0),
    Evidence(status=-9, oom_kills=1, memory_peak=256 << 20, memory_max=256 << 20),
    Evidence(status=-11),
    Evidence(error="[Errno 2] No such file or directory"),
])  # fmt: skip
OTHERS = st.lists(
    st.sampled_from([
        Evidence(shim_status=-9),
        Evidence(unit_result="success"),
        Evidence(journal_oom=True),
        Evidence(journal_oom=False),
        Evidence(journal_oomd=True),
        Evidence(kernel_oom="oom-kill:constraint=CONSTRAINT_MEMCG"),
        Evidence(),
    ]),
    max_size=5,
)  # fmt: skip
RESULTS = st.sampled_from([Evidence(), Evidence(unit_result="oom-kill"), Evidence(unit_result="timeout")])
CAUSES_ASKED = st.sampled_from([None, "rotated", "stall", "stopped"])


def running(asked: str | None) -> Recorder:
    """A recording with a segment that writes, or was asked to end."""
    segment = Segment(
        number=1, phase=Phase.WRITING, since=MEDIA, started=MEDIA, media_at=MEDIA, size=1000, grown_at=AT.monotonic,
        memory_max=256 << 20,
    )  # fmt: skip
    recorder = replace(new_recorder(), state=State.RECORDING, segments=(segment,))
    if asked is None:
        return recorder
    stopping = replace(segment, phase=Phase.STOPPING, cause=asked, stops=1)
    return replace(recorder, state=State.STOPPING, segments=(stopping,))


@given(st.data(), RECORDS, RESULTS, OTHERS, CAUSES_ASKED)
def test_the_cause_does_not_depend_on_the_order(
    data: st.DataObject, record: Evidence, result: Evidence, others: list[Evidence], asked: str | None
) -> None:
    told = data.draw(st.permutations([record, result, *others]))
    told += data.draw(st.lists(st.sampled_from(told), max_size=3))  # again
    exits = data.draw(st.integers(0, len(told) - 1))
    recorder, announced = running(asked), []
    for number, evidence in enumerate(told):
        kind = ev.SegmentExited if number == exits else ev.EvidenceArrived
        recorder, effects = step(recorder, kind(at=AT, attempt=1, evidence=evidence))
        announced += [effect.notice for effect in effects if isinstance(effect, fx.Announce) and effect.attempt == 1]
    everything = Evidence()
    for evidence in told:
        everything = everything.merged(evidence)
    expected = judge(everything, asked=asked).cause
    segment = recorder.segments[0]
    assert segment.cause == expected
    assert recorder.deaths == is_death(expected)
    assert sum(notice in (fx.Notice.SEGMENT_DIED, fx.Notice.SEGMENT_ENDED) for notice in announced) == 1
    assert segment.evidence is not None
    assert segment.evidence.of_the_run == replace(everything, memory_max=segment.evidence.memory_max)
    if expected != "oomd":  # which may have looked like the kernel's doing for a while
        assert (recorder.memory_max is not None) == (expected == "oom")
