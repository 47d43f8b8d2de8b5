# SPDX-License-Identifier: GPL-3.0-or-later
"""[store]: which catalogues may be named."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from streamvaultd.config import settings as config

GOOD = [
    "postgresql://_streamvault@/streamvault", "postgresql://u@db.example.org/streamvault", "postgres://u@h:5433/db",
    "postgresql:///db?host=/run/postgresql", "postgresql://u@[::1]:5432/db", "postgresql://h/db?sslmode=verify-full",
    "postgresql://u@/db?host=one:5432&host=two:5432",
]  # fmt: skip


@pytest.mark.parametrize("url", GOOD)
def test_a_database_is_named_by_a_url_that_the_driver_understands(url: str) -> None:
    settings, mistakes = config.apply(config.Settings(), {"store": {"catalogue": url}}, "x")
    assert mistakes == []
    assert make_url(settings.catalogue).database in ("streamvault", "db")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u@h/db", "postgresql://u@h", "postgresql://u@h/", "postgresql:/db", "postgresql:db", "db", "/db",
        "postgresql://u@h:abc/db", "postgresql://u@h:/db", "postgresql://u@h:99999/db", "postgresql://u@h:1,i:2/db",
        "postgresql://u@[::1/db", "postgresql://u:secret@h/db", "postgresql://u:@h/db",
        "postgresql://u@h/db?password=secret", 5, True,
    ],
)  # fmt: skip
def test_anything_else_is_refused(url: object) -> None:
    settings, mistakes = config.apply(config.Settings(), {"store": {"catalogue": url}}, "x")
    assert settings.catalogue == ""
    assert [mistake.name.rpartition(".")[2] for mistake in mistakes] == ["ConfigInvalid"]
    assert "secret" not in str(mistakes[0])
