# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's manager on the system bus, org.freedesktop.systemd1(5): names, calls, signals, paths of units."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

if TYPE_CHECKING:
    from collections.abc import Sequence

BUS_NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{BUS_NAME}.Manager"
UNIT = f"{BUS_NAME}.Unit"
SCOPE = f"{BUS_NAME}.Scope"
SERVICE = f"{BUS_NAME}.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
UNIT_PATH = f"{PATH}/unit"
DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
CALL_SECONDS_MAX = 25.0  # as in libdbus and sd-bus

_ESCAPE = re.compile(rb"[^A-Za-z0-9]|^[0-9]")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")


class BusError(Exception):
    """The peer answered an error, or nothing any more; `name` is D-Bus's name for it."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why
        super().__init__(f"{name}: {why}")


async def connect() -> MessageBus:
    """Return a connection to the system bus that may carry file descriptors; BusError when there is none."""
    bus = None
    try:
        bus = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await bus.connect()
    except TimeoutError as error:
        assert bus is not None  # noqa: S101 - only its connect() is limited
        bus.disconnect()
        raise BusError(NO_REPLY, f"it does not answer within {CALL_SECONDS_MAX:g} s") from error
    except (OSError, EOFError) as error:
        raise BusError("org.freedesktop.DBus.Error.NoServer", str(error)) from error


async def call(
    bus: MessageBus,
    member: str,
    signature: str = "",
    body: Sequence[Any] = (),
    *,
    path: str = PATH,
    interface: str = MANAGER,
    fds: Sequence[int] = (),
) -> list[Any]:
    """Call a method of systemd and return what it answers; an error, or the loss of the bus, is a BusError."""
    return await _call(
        bus,
        Message(
            destination=BUS_NAME,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            unix_fds=list(fds),
        ),
    )


async def get_property(bus: MessageBus, unit: str, interface: str, name: str) -> Any:
    """Return one property of a unit. For a unit that is not loaded systemd answers the default, not an error."""
    [variant] = await call(bus, "Get", "ss", [interface, name], path=unit_path(unit), interface=PROPERTIES)
    return variant.value


async def get_properties(bus: MessageBus, unit: str, interface: str) -> dict[str, Any]:
    """Return all properties of one interface of a unit; see get_property()."""
    [variants] = await call(bus, "GetAll", "s", [interface], path=unit_path(unit), interface=PROPERTIES)
    return {name: variant.value for name, variant in variants.items()}


async def get_manager_property(bus: MessageBus, name: str) -> Any:
    """Return one property of systemd itself."""
    [variant] = await call(bus, "Get", "ss", [MANAGER, name], interface=PROPERTIES)
    return variant.value


async def subscribe(bus: MessageBus, *rules: str) -> None:
    """Make systemd send its signals, and the bus pass on those that match one of the rules."""
    for rule in rules:
        await _call(
            bus,
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[f"type='signal',sender='{BUS_NAME}',{rule}"],
            ),
        )
    await call(bus, "Subscribe")


async def lost(bus: MessageBus) -> None:
    """Return when the bus has closed the connection."""
    try:
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    except (OSError, EOFError):
        return


def unit_path(unit: str) -> str:
    """The object path of a unit, escaped as sd_bus_path_encode(3) does."""
    return f"{UNIT_PATH}/" + (_ESCAPE.sub(lambda m: b"_%02x" % m[0][0], unit.encode()).decode() or "_")


def unit_of(path: str) -> str | None:
    """The unit at an object path, None for any other object."""
    parent, _, label = path.rpartition("/")
    if parent != UNIT_PATH or not label:
        return None
    name = b"" if label == "_" else _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), label.encode())
    return name.decode(errors="replace")


async def _call(bus: MessageBus, message: Message) -> list[Any]:
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            reply = await bus.call(message)
    except TimeoutError as error:
        raise BusError(NO_REPLY, f"no answer within {CALL_SECONDS_MAX:g} s") from error
    except (OSError, EOFError) as error:
        raise BusError(DISCONNECTED, str(error)) from error
    if reply is None:
        raise BusError(DISCONNECTED, "the bus closed the connection")
    if reply.message_type is MessageType.ERROR:
        raise BusError(reply.error_name or "", str(reply.body[0]) if reply.body else "")
    return list(reply.body)
