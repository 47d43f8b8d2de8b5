# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server of a test's own, from Debian's package, on a Unix socket in its folder only."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
from contextlib import suppress
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
        return self.url_for()

    def url_for(self, user: str = USER, database: str = DATABASE) -> str:
        """A database for a user."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def create_database(self, name: str = DATABASE, *options: str) -> None:
        self._run("createdb", "-h", str(self.folder), *options, name)

    def stop(self) -> None:
        """Stop it as an administrator does who cannot wait."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "fast", "stop")

    def restart(self) -> None:
        """Break off all that it does, and start it again."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "-l", str(self.folder / "log"), "restart")

    def allow(self, line: str) -> None:
        """Put a line before all others of pg_hba.conf; "" takes it away."""
        file = self.data / "pg_hba.conf"
        old = [each for each in file.read_text().splitlines() if not each.endswith("# ours")]
        file.write_text("\n".join([f"{line} # ours" if line else "", *old, ""]))
        self._run("pg_ctl", "-D", str(self.data), "reload")

    def freeze(self) -> None:
        """All its processes stop where they are, and keep what they hold."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # its children come and go
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """The server's first process, and its children."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def kill(self) -> None:
        """End it as a power cut does."""
        pid, *children = self._pids()
        ended = []
        for child in children:
            with suppress(ProcessLookupError):  # they come and go
                ended.append(os.pidfd_open(child))
        os.kill(pid, signal.SIGKILL)
        for fd in ended:  # they go when they see it, and hold the cluster until then
            select.select([fd], [], [], KILL_TIMEOUT)
            os.close(fd)
        # until somebody reaps it its number is taken, and the next server would believe that it runs
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*.lock")):
            lock.unlink()

    def remove(self) -> None:
        if self.is_running:
            self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def sql(self, statement: str, database: str = DATABASE) -> list[list[str]]:
        """The rows that a statement gives, as psql prints them."""
        return [line.split("\t") for line in self.psql(statement, database).splitlines()]

    def psql(self, statement: str, database: str = DATABASE) -> str:
        """What psql prints, without any decoration; columns are separated by tabs."""
        return self._run("psql", "-h", str(self.folder), "-d", database, "-AtqX", "-F", "\t", "-c", statement)

    def copy(self, to: str) -> None:
        """A backup by pg_dump, and a new database from it."""
        dump = self._run("pg_dump", "-h", str(self.folder), DATABASE)
        self.create_database(to)
        file = self.folder / "dump.sql"
        file.write_text(dump)
        self._run("psql", "-h", str(self.folder), "-d", to, "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(file))

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
