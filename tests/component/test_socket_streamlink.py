# SPDX-License-Identifier: GPL-3.0-or-later
"""The method about streamlink on a real socket: who may have it installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from streamvaultd.config.settings import Settings
from streamvaultd.errors import StreamlinkInstallRefused
from streamvaultd.varlink.server import Call
from streamvaultd.varlink.sockets import Peer
from tests.component.socket_world import World, served

if TYPE_CHECKING:
    from pathlib import Path

GROUP = 991


async def install_as(uid: int, world: World, **parameters: Any) -> Any:
    """What this peer, whom the socket lets in, is answered."""
    given = {"verb": "install", **parameters}
    call = Call(
        method="ManageStreamlink", parameters=given, more=False, oneway=False, peer=Peer(1, uid, GROUP), fds=()
    )
    return await cast("Any", world.handlers()["ManageStreamlink"])(call)


async def test_root_alone_has_streamlink_installed_unless_the_settings_say_so(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await install_as(0, world))["managed"]
        assert world.installed == [(None, True)]
        with pytest.raises(StreamlinkInstallRefused, match=r"for user 1000: by .* only root may$") as refused:
            await install_as(1000, world, version="8.7.0", noHashes=True)
        assert 'install = "group"' in refused.value.advice
        assert world.installed == [(None, True)]
        world.settings.now = Settings(streamlink_install="group")
        await install_as(1000, world, version="8.7.0", noHashes=True)
        assert world.installed == [(None, True), ("8.7.0", False)]
