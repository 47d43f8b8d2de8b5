# SPDX-License-Identifier: GPL-3.0-or-later
"""Which units the broker takes for hooks that root has installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from streamvaultd.brokerd.installed import (
    FACTS_MAX,
    Facts,
    check_call,
    check_facts,
    check_installed,
    why_not_installed,
)
from streamvaultd.core.names import HookUnit
from streamvaultd.errors import InvalidParameter, NameRefused

UNIT = HookUnit("nas", 17)
ME = os.getuid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where units are installed, by a user who stands for root."""
    folder = tmp_path / "system"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def template(folder: Path) -> Path:
    file = folder / "streamvault-hook-nas@.service"
    file.write_text("[Service]\n")
    file.chmod(0o644)
    return file


def described(template: Path, **changes: Any) -> dict[str, Any]:
    return {
        "Id": UNIT.unit, "LoadState": "loaded", "FragmentPath": str(template), "DropInPaths": [], "Transient": False,
        "Type": "oneshot", "RemainAfterExit": True,
    } | changes  # fmt: skip


@pytest.mark.parametrize("hook", ["nas", "a", "a-1", "x" * 32])
def test_a_call_has_its_unit(hook: str) -> None:
    assert check_call(hook, 17).unit == f"streamvault-hook-{hook}@17.service"


@pytest.mark.parametrize(
    ("hook", "call"),
    [
        *((hook, 17) for hook in ("", "../nas", "nas/x", "nas@1", "nas\\x2fx", "nas.service", "Nas", "-a", "a-", "ü")),
        *((hook, 17) for hook in ("nas\n", "nas\0", "x" * 33, "nas@.service", "%i", "*", " ")),
        *(("nas", call) for call in (0, -1, 10**10)),
    ],
)
def test_other_names_are_refused(hook: str, call: int) -> None:
    with pytest.raises(NameRefused):
        check_call(hook, call)


@pytest.mark.skipif(ME != 0, reason="root's files are root's")
def test_a_template_of_roots_is_taken(template: Path) -> None:
    check_installed(UNIT, described(template), [template.parent])


@pytest.mark.parametrize(
    "changes",
    [
        {"LoadState": "not-found"},
        {"LoadState": "masked"},
        {"Id": "sshd.service"},
        {"FragmentPath": "/run/streamvaultd/streamvault-hook-nas@.service"},
        {"FragmentPath": "/dev/null"},
        {"FragmentPath": ""},
        {"DropInPaths": ["/run/systemd/system/streamvault-hook-nas@.service.d/x.conf"]},
        {"Transient": True},
        {"Type": "simple"},
        {"RemainAfterExit": False},
    ],
    ids=str,
)
def test_what_is_no_hook_is_refused(template: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(NameRefused):
        check_installed(UNIT, described(template, **changes), [template.parent])


def test_who_else_could_change_it(folder: Path, template: Path, tmp_path: Path) -> None:
    assert why_not_installed(template, [folder], ME) is None
    assert why_not_installed(template, [folder], ME + 1) is not None
    template.chmod(0o664)
    assert why_not_installed(template, [folder], ME) is not None
    template.chmod(0o644)
    folder.chmod(0o777)
    assert why_not_installed(template, [folder], ME) is not None
    folder.chmod(0o755)
    elsewhere = tmp_path / "elsewhere.service"
    elsewhere.write_text("[Service]\n")
    link = folder / "streamvault-hook-link@.service"
    link.symlink_to(elsewhere)
    assert why_not_installed(link, [folder], ME) is not None
    assert why_not_installed(folder / ".." / elsewhere.name, [folder], ME) is not None
    within = folder / "streamvault-hook-alias@.service"
    within.symlink_to(template)
    assert why_not_installed(within, [folder], ME) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "1", "{", '{"a":', "null", "[" * 100_000, '{"a": "%s"}' % ("x" * FACTS_MAX)]
)
def test_facts_are_one_object_that_is_not_too_large(text: str) -> None:
    assert check_facts('{"a": 1}') == b'{"a": 1}'
    with pytest.raises(InvalidParameter):
        check_facts(text)


def test_facts_are_there_whole_and_go(tmp_path: Path) -> None:
    facts = Facts(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / ".17").symlink_to(victim)
    facts.write(UNIT, b"{}")
    file = tmp_path / "17.json"
    assert (file.read_bytes(), file.stat().st_mode & 0o777, victim.read_text()) == (b"{}", 0o400, "as it was")
    facts.write(UNIT, b'{"a": 1}')
    assert file.read_bytes() == b'{"a": 1}'
    facts.remove(UNIT)
    facts.remove(UNIT)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["victim"]
