# SPDX-License-Identifier: GPL-3.0-or-later
"""What several files of tests need and what takes long to make."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.component.transfer_world import fill, open_and_close
from tests.testbed.postgres import Postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    # not below pytest's own folder: only root may enter that
    server = Postgres(Path(tempfile.mkdtemp(prefix="streamvaultd-postgres-")))
    server.start()
    server.create_database()
    yield server
    server.remove()


@pytest.fixture
def server(cluster: Postgres) -> Postgres:
    """A PostgreSQL server, running, and with an empty database."""
    if not cluster.is_running:  # a test failed before it had started it again
        cluster.start()
    cluster.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return cluster


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with something in every table; beside it, in empty.db, one with nothing."""
    path = tmp_path_factory.mktemp("store") / "template.db"
    asyncio.run(fill(path))
    asyncio.run(open_and_close(path.with_name("empty.db")))
    return path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    path = tmp_path / "store.db"
    path.write_bytes(template.read_bytes())
    return path


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Where no store is yet."""
    return tmp_path / "fresh.db"
