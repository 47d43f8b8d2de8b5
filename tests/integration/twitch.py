# SPDX-License-Identifier: GPL-3.0-or-later
"""Twitch as a machine of a test sees it: its interface, its events, and channels that lead to a live source.

streamlink's plugin for Twitch is replaced by one that takes the channels of the site from here; streamlink itself is
the real one, for the probe and for recordings. What the interface says and what the site shows may differ.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.fakes.eventsub import EventSubServer
from tests.fakes.helix import CLIENT, REFRESH, SECRET, HelixServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from tests.fakes.channel import Channel
    from tests.fakes.livesource import LiveSource
    from tests.testbed.machine import Machine

PLUGIN = "/usr/lib/python3/dist-packages/streamlink/plugins/twitch.py"
PLUGIN_TEXT = r"""
import re

from streamlink.plugin import Plugin, pluginmatcher
from streamlink.stream.hls import HLSStream


@pluginmatcher(re.compile(r"https?://(?:www\.)?twitch\.tv/(?P<channel>\w+)"))
class Twitch(Plugin):
    def _get_streams(self):
        found = self.session.http.get(f"SITE/site/{self.match['channel']}").json()
        if found:
            self.id, self.title, self.category = found
            return {"live": HLSStream(self.session, f"SOURCE/{self.match['channel']}/live.m3u8")}


__plugin__ = Twitch
"""
CREDENTIALS = "/run/planted"
DROP_IN = "/etc/systemd/system/streamvaultd.service.d/credentials.conf"
FOLDER = "/etc/streamvaultd/streamers.d"


def give_credentials(machine: Machine, files: Mapping[str, str]) -> None:
    """Credentials of the daemon, from its next start on.

    systemd passes no credentials in a box: its mount is not seen there. So a folder stands in for what it makes.
    """
    machine.write_file(DROP_IN, f"[Service]\nEnvironment=CREDENTIALS_DIRECTORY={CREDENTIALS}\n")
    machine.run(["systemctl", "daemon-reload"])
    for name, text in files.items():
        machine.write_file(f"{CREDENTIALS}/{name}", text)
    machine.run(["chown", "-R", "_streamvault:", CREDENTIALS])
    machine.run(["chmod", "-R", "u=rX,go=", CREDENTIALS])


class Twitch:
    """`helix` and `events` answer the daemon; `site` has what is on air."""

    def __init__(self, machine: Machine, source: LiveSource) -> None:
        self.machine, self.source = machine, source
        self.helix, self.site, self.events = HelixServer(), HelixServer(), EventSubServer()
        self.helix.events = self.events
        self.all = ExitStack()

    def __enter__(self) -> Twitch:
        for server in (self.helix, self.site, self.events):
            self.all.enter_context(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.all.close()

    def install(self, *, user: bool = False) -> None:
        """The plugin, and the credential, with or without a user's token; the daemon has to be started anew."""
        source, site, interface, events = (
            self.machine.reach(address)
            for address in (self.source.address, self.site.address, self.helix.address, self.events.address)
        )
        self.machine.write_file(PLUGIN, PLUGIN_TEXT.replace("SITE", site).replace("SOURCE", source))
        lines = [f"client_id={CLIENT}", f"client_secret={SECRET}", f"api={interface}", f"auth={interface}"]
        if user:
            lines += ["user_token=planted-old", f"refresh_token={REFRESH}", f"events={events}"]
        give_credentials(self.machine, {"streamvaultd.helix": "\n".join(lines) + "\n"})

    def watch(self, names: Sequence[str]) -> None:
        """Files for these channels, and for no others; the daemon has to read them."""
        lines = [f"mkdir -p {FOLDER}", f"rm -f {FOLDER}/*.toml"]
        for name in names:
            self.source.go_off_air(name)
            lines.append(f"printf '[streamer]\\nurl = \"https://www.twitch.tv/{name}\"\\n' >{FOLDER}/{name}.toml")
        self.machine.write_file("/root/streamers.sh", "\n".join(lines) + "\n")
        self.machine.run(["sh", "/root/streamers.sh"])

    def go_live(self, name: str, number: str, *, listed: bool = True) -> Channel:
        """A broadcast begins; `listed`: the interface knows of it at once."""
        begun = self.source.go_live(name)
        self.tell(name, number, "A title", "Chess", listed=listed)
        return begun

    def tell(self, name: str, number: str, title: str, category: str, *, listed: bool = True) -> None:
        """What the broadcast is called now."""
        self.site.live[name] = (number, title, category)
        if listed:
            self.helix.live[name] = (number, title, category)

    def end(self, name: str) -> None:
        """The broadcast is over."""
        self.helix.live.pop(name, None)
        self.site.live.pop(name, None)
        self.source.control(name, end=True)
