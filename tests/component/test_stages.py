# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages side by side: what one says and how one ends is told whatever the other does, and an interrupt ends all."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.testbed import stages
from tests.testbed.lanes import Stage

# Stands in for "make test": stages of its own, in a folder of its own.
PROGRAM = """
import sys
from pathlib import Path
from tests.testbed import stages
from tests.testbed.lanes import interrupt_once
interrupt_once()
stages.STAGES = {name: lambda stage: stage.run(["sh", "-c", sys.argv[2], "sh", stage.name], show=True)
                 for name in ("left", "right", "after")}
schedule = ((("left",), ("right",)), (("after",),))
sys.exit(stages.run_rounds(schedule, 1, Path(sys.argv[1])))
"""
WAITS = 'sleep 900 & trap "echo removed; kill $!; exit 1" INT; echo pid $$; wait'
"""As pytest does, it removes what it has made before it obeys."""
DEAF = 'trap "" INT TERM; echo pid $$; exec sleep 900'
TIMEOUT = 60


@pytest.fixture
def own_stages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give it stages by name: what each runs by sh(1)."""

    def give(**scripts: str) -> None:
        def stage_of(script: str) -> Callable[[Stage], bool]:
            return lambda stage: stage.run(["sh", "-c", script], show=True)

        monkeypatch.setattr(stages, "STAGES", {name: stage_of(script) for name, script in scripts.items()})

    return give


def test_each_is_told_though_another_fails(
    own_stages: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_stages(bad="echo wrong; exit 3", good="echo right", later="echo late")
    code = stages.run_rounds(((("bad", "later"), ("good",)),), 1, tmp_path / "logs")
    told = capfd.readouterr().out.splitlines()
    assert code == 1
    assert {"bad         | wrong", "good        | right", "later       | late"} <= set(told)
    table = told[told.index("") + 1 :]
    assert [line.split()[:2] for line in table[:3]] == [["bad", "FAIL"], ["later", "ok"], ["good", "ok"]]
    assert table[-2] == "stages: 2 passed, 1 failed"
    assert table[-1] == f"FAILED: bad; everything about it is in {tmp_path / 'logs'}"
    assert (tmp_path / "logs" / "good.log").read_text().splitlines()[-1] == "right"


def test_the_end_names_the_tests_that_failed(
    own_stages: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_stages(bad="echo '=== FAILURES ==='; echo 'E       assert 5 == 4'; echo 'FAILED tests/x.py::y - 5'; exit 1")
    assert stages.run_rounds(((("bad",),),), 1, tmp_path / "logs") == 1
    told = capfd.readouterr().out.splitlines()
    after = told[told.index("stages: 0 passed, 1 failed") + 1 :]
    assert after[:2] == ["bad         | E       assert 5 == 4", "bad         | FAILED tests/x.py::y - 5"]


def test_a_stage_alone_bears_no_mark(
    own_stages: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_stages(only="echo 3 passed")
    assert stages.run_rounds(((("only",),),), 1, tmp_path / "logs") == 0
    assert capfd.readouterr().out.splitlines()[0] == "3 passed"


def test_a_stage_that_raises_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The other lane is told, and what came after it in its own."""

    def breaks(_stage: Stage) -> bool:
        raise FileNotFoundError("no such program")

    fine: Callable[[Stage], bool] = lambda stage: stage.run(["true"])  # noqa: E731
    monkeypatch.setattr(stages, "STAGES", {"broken": breaks, "after": fine, "beside": fine})
    assert stages.run_rounds(((("broken", "after"), ("beside",)),), 1, tmp_path / "logs") == 1
    told = capfd.readouterr().out
    assert "broken      | no such program" in told
    assert "FAILED: broken;" in told


def test_rounds_are_counted(
    own_stages: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stage that fails in the second of three rounds, though a file tells it which it is."""
    own_stages(
        sometimes=f'echo >> {tmp_path}/count; test "$(wc -l < {tmp_path}/count)" -ne 2',
        always="true",
    )
    assert stages.run_rounds(((("sometimes",),), (("always",),)), 3, tmp_path / "logs") == 1
    told = capfd.readouterr().out
    assert "sometimes    passed 2 of 3, " in told
    assert "always       passed 3 of 3, " in told
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["1", "2", "3"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_both_lanes(tmp_path: Path, signum: signal.Signals) -> None:
    """Both remove what they have made, once; nothing is started after it, and the exit status tells it."""
    process, pids = started(tmp_path, WAITS)
    process.send_signal(signum)
    told, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert sorted(line for line in told.splitlines() if "removed" in line and "|" in line) == [
        "left        | removed",
        "right       | removed",
    ]
    assert "after        not run to its end" in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_what_does_not_obey_is_killed(tmp_path: Path) -> None:
    process, pids = started(tmp_path, DEAF, "from tests.testbed import lanes; lanes.TO_END = 0.2")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def started(folder: Path, script: str, before: str = "") -> tuple[subprocess.Popen[str], list[int]]:
    """Two stages that run this side by side, and their processes."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{PROGRAM}", str(folder / "logs"), script],
        cwd=stages.PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    pids: list[int] = []
    while len(pids) < 2:
        line = process.stdout.readline()
        assert line, "it ended early"
        if "| pid " in line:
            pids.append(int(line.split()[-1]))
    return process, pids
