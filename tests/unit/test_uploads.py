# SPDX-License-Identifier: GPL-3.0-or-later
"""Remotes as settings may have them, what rclone's configuration names and hides, and what its log says."""

from __future__ import annotations

import json

import pytest

from streamvaultd.base.networks import reachable
from streamvaultd.config.kinds import Unfit
from streamvaultd.config.uploads import REMOTES_MAX, remotes
from streamvaultd.jobs.after.rclone import parse_line, secrets_in
from streamvaultd.upkeep.destinations import named_in

CONFIG = """
[nas]
type = webdav
url = http://127.0.0.1:8080/dav
user = somebody
pass = obscured-value
[lan]
type = sftp
host = localhost
[far]
type = s3
endpoint = s3.example.org
secret_access_key = abc
"""


@pytest.mark.parametrize("given", ["nas:", "nas:recordings", "my nas:a/b c", "b2.eu@x+1:bucket/ü", ["nas:x", "b2:y"]])
def test_these_are_remotes(given: object) -> None:
    assert remotes(given) == ((given,) if isinstance(given, str) else ("nas:x", "b2:y"))


@pytest.mark.parametrize(
    "given",
    [
        ":webdav,url=http://u:p@x:", ":local:/etc", "nas,pass=x:y", "/srv/nas", "nas", "-x:y", "--config=x:y", "",
        "nas:a:b", "nas:../x", "nas:x/..", "nas:a\nb", "nas:" + "x" * 500, 7, [7], ["nas:x"] * (REMOTES_MAX + 1), {},
    ],
)  # fmt: skip
def test_these_are_none(given: object) -> None:
    with pytest.raises(Unfit):
        remotes(given)


def test_how_a_remote_is_reached_is_a_secret_and_belongs_elsewhere() -> None:
    with pytest.raises(Unfit, match=r"credential 'rclone\.conf'"):
        remotes(":webdav,url=http://x,pass=y:")


def test_a_remote_is_there_once_and_a_slash_behind_it_makes_no_other() -> None:
    assert remotes(["nas:x", "nas:x/", "nas:x"]) == ("nas:x",)


def test_of_this_host_it_reaches_what_its_configuration_names() -> None:
    assert reachable(named_in(CONFIG), (), "") == ("127.0.0.1/32", "::1/128")
    assert reachable(named_in("[far]\ntype = s3\nendpoint = s3.example.org\n"), (), "") == ()


@pytest.mark.parametrize(
    "text", ["", "RCLONE_ENCRYPT_V0:\nabc", "no section = x", "[a]\n[a]\nurl = http://[::1", "\0"]
)
def test_what_is_no_configuration_names_nothing(text: str) -> None:
    assert reachable(named_in(text), (), "") == ()


def test_values_are_secrets_and_words_and_hosts_are_none() -> None:
    assert secrets_in(CONFIG) == ("obscured-value", "somebody")
    assert secrets_in("RCLONE_ENCRYPT_V0:\nabcdefgh\n") == ("RCLONE_ENCRYPT_V0:", "abcdefgh")


def line(**told: object) -> bytes:
    return json.dumps(told).encode() + b"\n"


def test_a_log_says_how_far_it_is_and_what_went_wrong() -> None:
    assert parse_line(line(level="warning", msg="x", stats={"bytes": 7})).bytes == 7
    assert parse_line(line(level="error", msg=" away\n")).why == "away"
    assert parse_line(line(level="info", msg="Copied")).why == ""
    assert parse_line(b"2026/12/01 01:35:05 Failed to lsjson: gone\n").why == "Failed to lsjson: gone"


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"[]", b"7", b'{"stats": 1}', b'{"stats": {"bytes": "x"}}', b"[" * 5000]
)
def test_a_log_may_say_anything(text: bytes) -> None:
    assert parse_line(text).bytes is None
