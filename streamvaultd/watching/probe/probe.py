# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks streamlink's Python API whether there is something to record; probed.py calls it, in a process of its own.

It is run by the interpreter that has streamlink, which may be another one than ours, so it imports the standard
library and streamlink alone, and that late; it works with 7.3.0 and 8.6.3. A question is {"verb": "probe" | "resolve",
"url", "quality", "options": [[name, value], ...], "secrets": likewise}; its answer is one line {"outcome", "detail",
"plugin", "metadata", "streams", "mark", "trouble", "refused"}.

outcome: live; ended (the playlist says that it is over); offline (nothing there now); unsupported (no plugin knows the
URL); trouble (anything else: says nothing about the stream; "trouble" is then network, or site). "resolve" only looks
for the plugin, and says live then. "mark" tells states of a playlist apart. "refused": the site did not want the
secrets, and the answer was had without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import Any, NoReturn

TIMEOUT = 8.0
SCHEMES = ("http://", "https://")
TEXT_MAX = 500
STREAMS_MAX = 100
NAME_MAX = 64
"""Characters of a stream's name; nobody asks for one that is longer."""
SECRET_MIN = 6
"""Shorter values are no secrets."""

LATEST = 3
"""Media segments at the end of a playlist that are looked at to tell whether it advances."""

DEPTH_MAX = 20
GONE = (404, 410)
REFUSED = (400, 401, 403)


def answer(outcome: str, detail: str = "", **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "detail": detail[:TEXT_MAX], **more}


def new_session(options: list[tuple[str, str]], plugins: Any = None) -> tuple[Any, Any]:
    """A session with these options, and what they were parsed to; with all plugins, or those of an earlier one."""
    from streamlink.session.session import Streamlink

    session = Streamlink(plugins_builtin=plugins is None)
    if plugins is not None:
        session.plugins = plugins
    args = apply_options(session, options)
    session.set_option("http-timeout", TIMEOUT)
    for prefix in [prefix for prefix in session.http.adapters if not prefix.startswith(SCHEMES)]:
        del session.http.adapters[prefix]  # older ones fetch files that a playlist names
    return session, args


def probe(request: dict[str, Any], session_with: Any = new_session) -> dict[str, Any]:
    """The answer to one request; streamlink's errors are answers too. Refused secrets are left out the second time."""
    options, secrets = request.get("options", []), request.get("secrets", [])
    first, status = ask_once(request, [*options, *secrets], session_with)
    if not secrets or status not in REFUSED:
        return first
    second, _ = ask_once(request, options, session_with)
    return first if second["outcome"] == "trouble" else second | {"refused": True}


def ask_once(
    request: dict[str, Any], options: list[tuple[str, str]], session_with: Any
) -> tuple[dict[str, Any], int | None]:
    """The answer with these options, and the HTTP status behind an error."""
    from streamlink.exceptions import NoPluginError, StreamlinkError

    mark = ""
    try:
        session, args = session_with(options)
        name, plugin_class, url = session.resolve_url(request["url"])
        if request["verb"] == "resolve":
            return answer("live", plugin=name), None
        plugin = plugin_class(session, url, plugin_options(session, args, name, plugin_class))
        streams = plugin.streams()
        if not streams:
            return answer("offline", "the site offers no stream", plugin=name), None
        stream = choose(streams, request["quality"])
        detail = "" if stream else f"none of the qualities {request['quality']} is offered"
        is_over, mark = look_at(session, stream) if stream else (False, "")
        if is_over:
            return answer("ended", "the playlist is closed", plugin=name), None
    except NoPluginError:
        return answer("unsupported", "no plugin knows this URL"), None
    except StreamlinkError as error:
        return answer_to(error)
    offered = [name for name in streams if len(name) <= NAME_MAX][:STREAMS_MAX]
    return answer("live", detail, plugin=name, metadata=metadata_of(plugin), streams=offered, mark=mark), None


def answer_to(error: BaseException) -> tuple[dict[str, Any], int | None]:
    """What an error means, and the HTTP status behind it."""
    status = status_of(error)
    if status in GONE:
        return answer("offline", str(error)), status
    return answer("trouble", str(error), trouble="network" if is_of_network(error) else "site"), status


def apply_options(session: Any, options: list[tuple[str, str]]) -> Any:
    """Set the administrator's options as streamlink's command line does: parsed by its own parser."""
    from argparse import ArgumentError

    from streamlink_cli.argparser import build_parser, setup_plugin_args, setup_session_options

    parser: Any = build_parser()  # type: ignore[no-untyped-call,unused-ignore]
    parser.error = refuse_options  # by itself 7.3.0 ends the process
    parser.allow_abbrev = False  # what is short for a secret would not be struck out of the log
    setup_plugin_args(session, parser)
    argv = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in options if value != "false"]
    try:
        args, unknown = parser.parse_known_args(argv)
    except ArgumentError as error:
        refuse_options(str(error))
    if unknown:
        refuse_options(unknown[0])
    setup_session_options(session, args)
    return args


def refuse_options(why: str) -> NoReturn:
    """Name the option that a recording would end for, without its value, which may be a secret."""
    from streamlink.exceptions import StreamlinkError

    name = re.search(r"--([a-z0-9-]+)", why)
    raise StreamlinkError(f"streamlink does not take the option '{name[1] if name else '?'}', or not with that value")


def without_secrets(reply: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The reply without values that were given as options: errors quote them, as of a proxy that cannot be parsed."""
    detail = reply.get("detail", "")
    for _, value in [*request.get("options", []), *request.get("secrets", [])]:
        user = re.split(r"[:/?#]+", value.rpartition("@")[0])
        for text in (value, value.partition("=")[2], *user):
            if len(text) >= SECRET_MIN:
                detail = detail.replace(text, "***")
    return {**reply, "detail": detail}


def encode(reply: dict[str, Any]) -> bytes:
    """One line. Sites send halves of surrogate pairs, which are no text for others."""
    return json.dumps(reply, ensure_ascii=False).encode(errors="replace") + b"\n"


def plugin_options(session: Any, args: Any, name: str, plugin_class: Any) -> Any:
    """The plugin's own options. Without somebody to ask, streamlink gives none to any plugin that has options."""
    from streamlink.exceptions import StreamlinkError
    from streamlink.user_input import UserInputRequester
    from streamlink_cli.argparser import setup_plugin_options

    class Nobody(UserInputRequester):
        def ask(self, prompt: str) -> str:
            raise StreamlinkError(f"{prompt}: there is nobody to ask, set it as an option")

        ask_password = ask

    session.set_option("user-input-requester", Nobody())
    return setup_plugin_options(session, args, name, plugin_class)


def choose(streams: Any, quality: str) -> Any:
    """The stream that a recording would get, None if it would get none."""
    return next((streams[name] for name in quality.lower().split(",") if name in streams), None)


def look_at(session: Any, stream: Any) -> tuple[bool, str]:
    """Whether a stream is an HLS playlist with an end, and its mark; a muxed one follows its first part."""
    from streamlink.stream.hls.hls import HLSStream
    from streamlink.stream.hls.m3u8 import parse_m3u8

    stream = next(iter(getattr(stream, "substreams", [])), stream)
    if not isinstance(stream, HLSStream):
        return False, ""
    request = {name: value for name, value in stream.args.items() if name not in ("url", "method", "timeout")}
    response = session.http.get(stream.url, **request)
    response.encoding = "utf-8"  # RFC 8216, 4.1; servers say nothing or something else
    playlist: Any = parse_m3u8(response)
    return bool(playlist.is_endlist), mark_of(playlist)


def mark_of(playlist: Any) -> str:
    """What changes when a playlist advances: packagers count wrongly, name files in a ring, or give no dates.

    What follows a "?" in an address may change with every request, and is no sign of anything.
    """
    segments = playlist.segments[-LATEST:]
    names = [segment.uri.partition("?")[0] for segment in segments]
    # what all names begin with may be made for who asks, as may all of a name where dates tell what is new
    alike = re.sub(r"[0-9]+$", "", os.path.commonprefix(names)) if len(names) > 1 else ""  # noqa: RUF071 - characters are meant
    are_dated = all(segment.date for segment in segments)
    latest = [
        f"{'' if are_dated else name[len(alike) :]} {segment.duration} {segment.date} {segment.byterange}"
        for name, segment in zip(names, segments, strict=True)
    ]
    told = [playlist.media_sequence, len(playlist.segments), *latest]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def causes(error: BaseException | None) -> Any:
    """An error and what is behind it; streamlink wraps the cause, and keeps some in `err`."""
    for _ in range(DEPTH_MAX):
        if error is None:
            return
        yield error
        error = getattr(error, "err", None) or error.__cause__ or error.__context__


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, if there is one."""
    for cause in causes(error):
        response = getattr(cause, "response", None)
        if response is not None:
            return int(response.status_code)
    return None


def is_of_network(error: BaseException | None) -> bool:
    """Whether nothing was heard of the site at all: no name, no route, no connection, no answer."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    if status_of(error) is not None:
        return False
    return any(isinstance(cause, (NoConnection, Timeout, OSError)) for cause in causes(error))


def metadata_of(plugin: Any) -> dict[str, str]:
    """What the site says about the stream: id, author, category, title, as far as it does."""
    from streamlink.exceptions import StreamlinkError

    try:
        found = plugin.get_metadata()
    except StreamlinkError:
        return {}
    return {name: str(value)[:TEXT_MAX] for name, value in found.items() if value}
