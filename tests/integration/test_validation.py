# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/validation.md, run as it stands there: the steps by which the incident's fix was to be validated."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, configure, streamlink_pid
from tests.integration.stories import ends_well, kill, wait_segments, wait_writing
from tests.testbed.box import Box

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "validation.md"
DATABASE = "/var/lib/streamvaultd/streamvaultd.sqlite"
NAME = "validation"
ALL = "SELECT id, stream_id, status, recording_path, bytes FROM recordings ORDER BY id"
SIZE = re.compile(r"^-\S+ +\d+ +\S+ +\S+ +(\S+) .* (segment_\d+\.ts)$", re.MULTILINE)
SETTINGS = """
[recording]
grace = "2s"
start_timeout = "30s"
stall_timeout = "25s"
[rotation]
overlap_limit = "5s"
"""


def blocks(step: str) -> str:
    """The block of a step."""
    found = re.search(rf"<!-- step:{step} -->\n```\w*\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None, step
    return found[1]


def run_step(box: Box, step: str) -> list[subprocess.CompletedProcess[str]]:
    """What the commands of a step give."""
    commands = re.findall(r"^\$ (.+)$", blocks(step), re.MULTILINE)
    assert commands
    return [box.run(["sh", "-c", command], check=False) for command in commands]


@pytest.fixture(scope="module", autouse=True)
def short_spans(box: Box) -> None:
    """An end is an end within seconds."""
    configure(box, SETTINGS)
    box.run(["systemctl", "restart", "streamvaultd"])


def test_the_steps(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    ctl("record", source.url(channel), "--name", NAME)
    recording = ctl.recording(NAME)["id"]
    kill(box, "KILL", streamlink_pid(box, f"streamvault-{recording}-001.scope"))
    wait_writing(box, ctl, NAME, 2, timeout=120)
    ctl("rotate", NAME)
    wait_segments(box, ctl, NAME, ["signal:9", "rotated", None], timeout=120)

    listed, segments = run_step(box, "3")
    sizes = {name: size for size, name in SIZE.findall(listed.stdout)}
    assert len(sizes) >= 3
    assert "0" not in sizes.values()
    assert segments.returncode == 0

    # while it runs it is one of those that step 5 asks for, once it is older than a day
    long_ago = "UPDATE recordings SET start_time = datetime('now', '-36 hours')"
    [stuck] = rows(box, f"BEGIN IMMEDIATE; {long_ago}; {blocks('5-sqlite')} ROLLBACK;")
    assert (stuck["username"], stuck["status"]) == (NAME, "recording")

    ends_well(box, ctl, source, channel, NAME)

    [rotations] = run_step(box, "1")
    assert "Successfully rotated to segment 003" in rotations.stdout
    [errors] = run_step(box, "2")
    assert (errors.stdout, errors.returncode) == ("0\n", 1)
    jobs, status, seams = run_step(box, "4")
    assert jobs.stdout == "join|done\n"
    assert (status.returncode, "completed" in status.stdout) == (0, True)
    assert seams.returncode == 0
    assert rows(box, blocks("5-sqlite")) == []
    for done in run_step(box, "5-audit"):
        assert done.returncode == 0, done.stdout + done.stderr


def rows(box: Box, statement: str) -> list[dict[str, object]]:
    """What a statement gives in the store."""
    found = box.run(["sqlite3", "-cmd", ".timeout 5000", "-json", DATABASE, statement]).stdout
    parsed: list[dict[str, object]] = json.loads(found) if found.strip() else []
    return parsed


def test_a_lost_store_is_rebuilt_from_the_disk(box: Box, ctl: Ctl) -> None:
    """And the steps' statements still tell the same."""
    before = rows(box, ALL)
    assert [row["status"] for row in before] == ["completed"]
    box.run(["systemctl", "stop", "streamvaultd"])
    box.run(["sh", "-c", f"rm {DATABASE}*"])
    box.run(["systemctl", "start", "streamvaultd"])
    assert ctl.json("list", "--all") == []
    assert "1 would be rebuilt" in ctl("rescan", "--dry-run").stdout
    assert ctl.json("list", "--all") == []
    ctl("rescan")
    assert rows(box, ALL) == before
    assert "1 known, 0 rebuilt" in ctl("rescan").stdout
    assert ctl("check", check=False).returncode == 0


# --- on PostgreSQL -------------------------------------------------------------------------------------------------

INSTALL = "apt-get update -q && apt-get install -qy --no-install-recommends postgresql"
CATALOGUE = '[store]\ncatalogue = "postgresql://_streamvault@/streamvault"\n'


def psql(box: Box, statement: str, database: str = "streamvault") -> list[str]:
    """The rows of a statement, their columns separated by "|"."""
    command = ["runuser", "-u", "postgres", "--", "psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", database]
    return box.run([*command, "-c", statement]).stdout.splitlines()


@pytest.fixture(scope="module")
def postgresql(box: Box) -> None:
    """Debian's own server, with a database for the service's user, who is trusted on the server's socket (peer)."""
    box.run(["sh", "-ec", INSTALL], timeout=600)
    psql(box, 'CREATE ROLE "_streamvault" LOGIN', "postgres")
    psql(box, 'CREATE DATABASE streamvault OWNER "_streamvault"', "postgres")
    configure(box, SETTINGS + CATALOGUE)
    box.run(["systemctl", "restart", "streamvaultd"])


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("postgresql")
def test_the_statement_of_that_time(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    assert psql(box, "SHOW server_version_num")[0].startswith("17")
    ctl("record", source.url(channel), "--name", channel)
    wait_writing(box, ctl, channel, 1, timeout=120)
    ctl("rotate", channel)
    wait_segments(box, ctl, channel, ["rotated", None], timeout=120)
    running = "SELECT count(*) FROM recordings WHERE status = 'recording'"
    box.wait_for(lambda: psql(box, running) == ["1"], "the catalogue has it", timeout=60)
    statement = blocks("5-postgresql")
    assert psql(box, statement) == []
    long_ago = "UPDATE recordings SET start_time = NOW() - INTERVAL '36 hours' WHERE status = 'recording';"
    [stuck] = psql(box, f"BEGIN; {long_ago} {statement} ROLLBACK;")
    assert stuck.split("|")[1:3] == [channel, "recording"]

    # the server is away while the broadcast ends: the recording is completed, and told later
    box.run(["systemctl", "stop", "postgresql"])
    ends_well(box, ctl, source, channel, channel)
    box.run(["systemctl", "start", "postgresql"])
    box.wait_for(lambda: psql(box, running) == ["0"], "the catalogue was told", timeout=120)
    wanted = ["|".join(str(value) for value in row.values()) for row in rows(box, ALL)]
    box.wait_for(lambda: psql(box, ALL) == wanted, "both are equal", timeout=60)
    assert psql(box, statement) == []


# --- and back ------------------------------------------------------------------------------------------------------

URL = "postgresql://_streamvault@/streamvault"
DAEMON = ["streamvaultd.socket", "streamvaultd.service"]


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("postgresql")
def test_the_store_goes_to_postgresql_and_comes_back(box: Box, ctl: Ctl) -> None:
    """With the daemon stopped; afterwards it goes on from there, and feeds nothing anew."""
    as_user = ["runuser", "-u", "_streamvault", "--", "streamvaultctl"]
    before = rows(box, ALL)
    assert before
    refused = box.run([*as_user, "import", URL], check=False)
    assert (refused.returncode, "systemctl stop" in refused.stderr) == (1, True)
    box.run(["systemctl", "stop", *DAEMON])
    psql(box, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION "_streamvault"')
    there = json.loads(box.run([*as_user, "--json=short", "export", URL]).stdout)
    assert there["rows"]["recordings"] == len(before)
    box.run(["streamvaultctl", "export", "/root/dump.jsonl"])
    box.run(["sh", "-c", f"rm {DATABASE}*"])
    back = json.loads(box.run([*as_user, "--json=short", "import", URL]).stdout)
    assert (back["sha256"], back["rows"]) == (there["sha256"], there["rows"])
    again = json.loads(box.run(["streamvaultctl", "--json=short", "import", "/root/dump.jsonl"]).stdout)
    assert (again["sha256"], again["added"]) == (there["sha256"], 0)
    assert rows(box, ALL) == before
    assert rows(box, "SELECT count(*) AS waiting FROM outbox") == [{"waiting": 0}]
    box.run(["systemctl", "start", *DAEMON])
    assert len(ctl.json("list", "--all")) == len(before)
    owner = box.run(["stat", "-c", "%U %a", DATABASE]).stdout
    assert owner == "_streamvault 600\n"
