# SPDX-License-Identifier: GPL-3.0-or-later
"""[metrics]: what may be listened to."""

from __future__ import annotations

import pytest

from streamvaultd.config import settings as config


@pytest.mark.parametrize("listen", ["", "unix:/run/streamvaultd/metrics", "127.0.0.1:9464", "[::1]:9464"])
def test_what_stays_on_this_machine_is_allowed(listen: str) -> None:
    settings, mistakes = config.apply(config.Settings(), {"metrics": {"listen": listen}}, "x")
    assert (settings.metrics_listen, mistakes) == (listen, [])


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:9464", "[::]:9464", "192.168.1.1:9464", "example.org:80", "localhost:9464", ":9464", "9464",
        "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:٣", "unix:", "unix:relative",
        "unix:/run/../x", "unix:/" + "x" * 107, 9464, True,
    ],
)  # fmt: skip
def test_anything_else_is_refused(listen: object) -> None:
    settings, mistakes = config.apply(config.Settings(), {"metrics": {"listen": listen}}, "x")
    assert settings.metrics_listen == ""
    assert [mistake.name.rpartition(".")[2] for mistake in mistakes] == ["ConfigInvalid"]


@pytest.mark.parametrize(("path", "is_fine"), [("", True), ("/a/b.prom", True), ("/a/b", False), ("b.prom", False)])
def test_a_textfile_has_a_name_that_is_read(path: str, *, is_fine: bool) -> None:
    _, mistakes = config.apply(config.Settings(), {"metrics": {"textfile": path}}, "x")
    assert bool(mistakes) is not is_fine
