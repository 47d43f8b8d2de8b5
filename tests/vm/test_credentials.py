# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials as systemd passes them, which a box cannot show: from /etc/credstore to the process that asks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.fakes.helix import CLIENT, SECRET, HelixServer
from tests.fakes.inbox import Inbox
from tests.fakes.livesource import LiveSource
from tests.integration.test_watch import seen_by_others
from tests.testbed.vm import Vm

PLANTED = "planted-4c1e77aa"
SITE = "/etc/credstore/streamvault.site"
NOTIFY = "/etc/credstore/streamvault-notify.phone"
HELIX = "/etc/credstore.encrypted/streamvaultd.helix"
FOLDER = "/run/credentials/streamvaultd.service"
REFUSED = "0b7a7be1fd4b4bd4a4f5c5e92e0d8c37"
STREAMERS = "/etc/streamvaultd/streamers.d"


@pytest.fixture
def tidy(vm: Vm) -> Iterator[None]:
    """Whatever the test leaves is removed for the others."""
    yield
    if vm.is_on:
        vm.run(["rm", "--force", SITE, NOTIFY, HELIX, f"{STREAMERS}/refused.toml", f"{STREAMERS}/far.toml"])
        vm.run(["systemctl", "restart", "streamvaultd"], timeout=120)


@pytest.mark.usefixtures("tidy")
@pytest.mark.timeout(1800)
def test_credentials_reach_the_probe_and_nobody_else(vm: Vm, source: LiveSource) -> None:
    """One plain, which its site refuses, and one encrypted, with which Twitch is asked. Nobody is live."""
    source.go_off_air("refused")
    with HelixServer() as helix:
        address = vm.reach(helix.address)
        keys = f"client_id={CLIENT}\nclient_secret={SECRET}\napi={address}\nauth={address}\n"
        give(vm, f"http-header=X-Refuse={PLANTED}\n", keys)
        watch(vm, "refused", vm.reach(source.url("refused")), "[streamlink]\nsecrets = ['site']\n")
        watch(vm, "far", "https://www.twitch.tv/far")
        vm.run(["systemctl", "restart", "streamvaultd"], timeout=120)
        vm.wait_journal(f"MESSAGE_ID={REFUSED}", timeout=120)  # the plain one has come to the site
        vm.wait_for(lambda: helix.answered > 0, "Twitch is asked with the other", timeout=120)
    assert helix.requests[0] == ["far"]
    assert sorted(vm.run(["ls", FOLDER]).stdout.split()) == ["streamvault.site", "streamvaultd.helix"]
    for user in ("nobody", probe_uid(vm)):
        for file in (SITE, HELIX, f"{FOLDER}/streamvault.site", f"{FOLDER}/streamvaultd.helix"):
            assert read(vm, user, file) != 0, f"{user} reads {file}"
    assert read(vm, "_streamvault", f"{FOLDER}/streamvault.site") == 0
    assert read(vm, "_streamvault", SITE) != 0
    assert vm.run(["grep", "-c", SECRET, HELIX], check=False).stdout.strip() == "0"
    assert seen_by_others(vm, PLANTED, SECRET, helix.token) == ""


@pytest.mark.usefixtures("tidy")
@pytest.mark.timeout(1200)
def test_only_the_process_that_notifies_gets_the_url(vm: Vm) -> None:
    """Debian's apprise, which the package recommends, tells a service on the host."""
    notify = ["streamvaultctl", "notify"]
    with Inbox() as inbox:
        url = vm.reach(inbox.url(PLANTED))
        vm.run(["install", "-D", "-m", "600", "/dev/stdin", NOTIFY], input=f"{url}\n")
        vm.run(["systemctl", "restart", "streamvaultd"], timeout=120)
        vm.run([*notify, "phone"], timeout=120)
        assert inbox.paths == [f"/{PLANTED}"]
    refused = vm.run([*notify, "other"], check=False, timeout=120).stderr
    assert "there is no credential streamvault-notify.other" in refused
    assert "notify" not in vm.run(["ls", FOLDER], check=False).stdout
    assert read(vm, "_streamvault", NOTIFY) != 0
    assert seen_by_others(vm, PLANTED) == ""


def give(vm: Vm, site: str, helix: str) -> None:
    """As streamvaultd.streamer(5) says."""
    vm.run(["install", "-D", "-m", "600", "/dev/stdin", SITE], input=site)
    vm.run(["mkdir", "-p", HELIX.rpartition("/")[0]])
    encrypt = ["systemd-creds", "encrypt", "--with-key=host", "--name=streamvaultd.helix", "-", HELIX]
    vm.run(encrypt, input=helix, timeout=120)


def watch(vm: Vm, name: str, url: str, more: str = "") -> None:
    vm.write_file(f"{STREAMERS}/{name}.toml", f"[streamer]\nurl = '{url}'\n{more}")


def probe_uid(vm: Vm) -> str:
    """The user that the process which asks has, for now."""
    shown = vm.run(
        ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "streamvault-probe@*"]
    ).stdout
    pid = vm.run(["systemctl", "show", "--property=MainPID", "--value", shown.split()[0]]).stdout.strip()
    found = re.search(r"^Uid:\s+(\d+)", vm.run(["cat", f"/proc/{pid}/status"]).stdout, re.MULTILINE)
    assert found is not None
    return found[1]


def read(vm: Vm, user: str, file: str) -> int:
    """The exit status of a user who tries to read a file."""
    command = ["setpriv", f"--reuid={user}", "--clear-groups", "--regid=nogroup", "cat", file]
    return vm.run(command, check=False).returncode
