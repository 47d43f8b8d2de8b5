# SPDX-License-Identifier: GPL-3.0-or-later
"""Events by kind on the socket: a kind that there is not is a mistake, and no empty answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamvaultd.errors import NoSuchKind
from tests.component.socket_world import served

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_kind_that_there_is_not_is_a_mistake_that_names_the_kinds(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        for kind in ("segment-died", "stream-changed", "recovered"):
            assert (await world.call("ListEvents", kind=kind))["events"] == []
        with pytest.raises(NoSuchKind, match=r"'segment-dies': there are recording-started, .*segment-died"):
            await world.call("ListEvents", kind="segment-dies")
