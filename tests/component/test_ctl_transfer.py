# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultctl export and import as processes: files, pipes and URLs, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamvaultd.store.postgres import server_url
from tests.component.store_world import open_store
from tests.component.transfer_world import content, raw
from tests.testbed.postgres import Postgres

pytestmark = pytest.mark.timeout(600)  # real programs, on whatever machine

RUN = "import sys; from streamvaultd.ctl.main import main; sys.exit(main())"


def run(*argv: object, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", RUN, *map(str, argv)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env={**os.environ, **environ})


def test_into_a_file_and_back(filled: Path, fresh: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    ran = run("export", "--from", filled, dump)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"2 streamers, 2 streams, 2 recordings" in ran.stdout
    assert dump.stat().st_mode & 0o777 == 0o600
    there = run("import", "--to", fresh, "--json=short", dump)
    assert (there.returncode, there.stderr) == (0, b"")
    answer = json.loads(there.stdout)
    assert answer["rows"]["streamers"] == 2
    assert answer["added"] == sum(answer["rows"].values())
    assert answer["sha256"].encode() in ran.stdout
    assert raw(fresh) == raw(filled)
    assert fresh.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump.jsonl", "fresh.db", "store.db"]


def test_through_a_pipe(filled: Path, fresh: Path) -> None:
    ran = run("export", "-", f"--from={filled}")
    assert ran.returncode == 0
    assert b"2 recordings" in ran.stderr
    assert run("import", "-", f"--to={fresh}", stdin=ran.stdout).returncode == 0
    assert raw(fresh) == raw(filled)


def test_to_a_server_and_back(filled: Path, fresh: Path, server: Postgres) -> None:
    assert run("export", "--from", filled, server.url).returncode == 0
    assert content(server_url(server.url)) == content(filled)
    ran = run("import", "--to", f"sqlite://{fresh}", server.url)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert raw(fresh) == raw(filled)


def test_a_password_comes_from_a_file(filled: Path, server: Postgres, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:keeper:s3cret\n")
    passfile.chmod(0o600)
    rules = server.data / "pg_hba.conf"
    trust = rules.read_text()
    server.sql("CREATE ROLE keeper LOGIN PASSWORD 's3cret'; GRANT ALL ON SCHEMA public TO keeper")
    rules.write_text(f"local all keeper scram-sha-256\n{trust}")
    server.sql("SELECT pg_reload_conf()")
    url = server.url.replace("postgres@", "keeper@")
    try:
        assert b"password" in run("export", "--from", filled, url, PGPASSFILE="/nowhere").stderr
        assert run("export", "--from", filled, url, PGPASSFILE=str(passfile)).returncode == 0
        assert run("export", "--from", filled, url, CREDENTIALS_DIRECTORY=str(tmp_path)).returncode == 0
    finally:
        rules.write_text(trust)
        server.sql("SELECT pg_reload_conf()")
        server.sql("DROP OWNED BY keeper; DROP ROLE keeper")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@h/d",
        "postgresql://u@h/d?password=s3cret",
        "mysql://h/d",
        "postgresql://",
        "postgresql://h:x/d",
    ],
)
def test_a_url_that_cannot_be_is_wrong_usage(filled: Path, url: str) -> None:
    for argv in (("export", url), ("import", url), ("export", "--from", url, "x"), ("import", "--to", url, "x")):
        ran = run(*argv)
        assert ran.returncode == 2
        assert b"Traceback" not in ran.stderr
        assert b"s3cret" not in ran.stderr


def test_what_cannot_be_written_leaves_nothing(filled: Path, tmp_path: Path) -> None:
    for target, code in ((tmp_path / "none" / "dump", 1), ("/dev/full", 1), (tmp_path, 1)):
        ran = run("export", "--from", filled, target)
        assert ran.returncode == code
        assert ran.stderr.startswith(b"streamvaultctl: cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]
    old = tmp_path / "dump"
    old.write_text("an earlier one")
    assert run("export", "--from", tmp_path / "nothing", old).returncode == 1
    assert old.read_text() == "an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump", "store.db"]


def test_a_device_is_written_to_and_not_replaced(filled: Path) -> None:
    assert run("export", "--from", filled, "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()


def test_nobody_reads_the_dump(filled: Path) -> None:
    command = [sys.executable, "-c", RUN, "export", "--from", str(filled), "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (141, b"")


def test_what_is_no_dump_is_said_and_leaves_no_store(fresh: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(os.urandom(1000))
    assert b"cannot use" in run("import", "--to", fresh, foreign).stderr
    assert b"the standard input" in run("import", "--to", fresh, "-").stderr
    assert run("import", "--to", fresh, tmp_path / "none").stderr.startswith(b"streamvaultctl: cannot read")
    assert [path.name for path in tmp_path.iterdir()] == ["foreign"]


async def test_a_daemon_is_not_disturbed(filled: Path, tmp_path: Path) -> None:
    opened = await open_store(filled)
    dump = tmp_path / "dump"
    assert run("export", "--from", filled, dump).returncode == 0
    ran = run("import", "--to", filled, dump)
    await opened.close()
    assert ran.returncode == 1
    assert b"systemctl stop streamvaultd.socket streamvaultd.service" in ran.stderr


def test_a_store_that_root_makes_is_the_daemons(filled: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12346)
    assert run("export", "--from", filled, dump).returncode == 0
    assert run("import", "--to", folder / "new.db", dump).returncode == 0
    found = (folder / "new.db").stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
    assert [path.name for path in folder.iterdir()] == ["new.db"]
