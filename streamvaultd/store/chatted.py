# SPDX-License-Identifier: GPL-3.0-or-later
"""The store for chats: what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.store.chat_rows import forget_chat_file, save_chat, select_chats, select_unfinished_chats
from streamvaultd.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamvaultd.core.chatting import Chat


class ChattedStore(LocalStore):
    """A store that knows the chats of recordings; made by open()."""

    async def save_chat(self, chat: Chat) -> None:
        """Write the row of a recording's chat."""
        await self._write(lambda connection: save_chat(connection, chat))

    async def unfinished_chats(self) -> Sequence[Chat]:
        """Those with which something still has to happen, oldest first."""
        return await self._read(lambda connection: select_unfinished_chats(connection, self._present().now))

    async def forget_chat_file(self, recording: int) -> None:
        """The packed chat of a recording is gone with its media."""
        await self._write(lambda connection: forget_chat_file(connection, recording))

    async def chats(self, recordings: Iterable[int]) -> Mapping[int, Chat]:
        """The chats of these recordings, by the recording's number."""
        return await self._read(lambda connection: select_chats(connection, recordings, self._present().now))
