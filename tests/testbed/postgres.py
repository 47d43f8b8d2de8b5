# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of a test's own, from Debian's package, on a Unix socket in its folder only."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
from pathlib import Path

USER = "postgres"
DATABASE = "streamvault"
KILL_TIMEOUT = 30


class PostgresError(Exception):
    """The server is not installed, or does not start."""


def binaries() -> Path:
    """Where the newest installed server is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise PostgresError("no PostgreSQL server is installed (apt-get install postgresql)")
    return found[-1].parent


class Postgres:
    """One cluster. The server refuses to be root: it runs as the user that Debian's package made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._bin = binaries()
        owner = pwd.getpwnam(USER)
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-N", "--no-locale", "-E", "UTF8")

    @property
    def url(self) -> str:
        """The database, for libpq and SQLAlchemy."""
        return f"postgresql://{USER}@/{DATABASE}?host={self.folder}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def create_database(self) -> None:
        self._run("createdb", "-h", str(self.folder), DATABASE)

    def stop(self) -> None:
        """Stop it as an administrator does who cannot wait."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """End it as a power cut does."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ended = [os.pidfd_open(int(child)) for child in children]
        os.kill(pid, signal.SIGKILL)
        for fd in ended:  # they go when they see it, and hold the cluster until then
            select.select([fd], [], [], KILL_TIMEOUT)
            os.close(fd)
        # until somebody reaps it its number is taken, and the next server would believe that it runs
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            lock.unlink()

    def remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def sql(self, statement: str) -> list[list[str]]:
        """The rows that a statement gives, as psql prints them."""
        out = self._run("psql", "-h", str(self.folder), "-d", DATABASE, "-AtqX", "-F", "\t", "-c", statement)
        return [line.split("\t") for line in out.splitlines()]

    def _run(self, program: str, *arguments: str) -> str:
        command = ["runuser", "-u", USER, "--", str(self._bin / program), *arguments]
        log = self.folder / f"{program}.log"
        with log.open("w+") as out:  # not a pipe: pg_ctl's server would keep it open
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd="/", check=False
            )
            out.seek(0)
            text = out.read()
        if done.returncode != 0:
            raise PostgresError(f"{program} gave {done.returncode}: {text}")
        return text
