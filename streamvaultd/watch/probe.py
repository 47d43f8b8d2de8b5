# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks streamlink's Python API whether there is something to record. A program of its own: PYTHON -I probe.py

It is run by the interpreter that has streamlink, which may be another one than ours, so it imports the standard
library and streamlink alone, and that late; it works with 7.3.0 and 8.6.3. stdin: {"verb": "probe" | "resolve", "url",
"quality", "options": [[name, value], ...]}; stdout: one line {"outcome", "detail", "plugin", "metadata", "streams"}.

outcome: live; ended (the playlist says that it is over); offline (nothing there now); unsupported (no plugin knows the
URL); trouble (anything else: says nothing about the stream). "resolve" only looks for the plugin, and says live then.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

TIMEOUT = 8.0
TEXT_MAX = 500
STREAMS_MAX = 100
GONE = (404, 410)


def answer(outcome: str, detail: str = "", **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "detail": detail[:TEXT_MAX], **more}


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request; streamlink's errors are answers too."""
    from streamlink.exceptions import NoPluginError, StreamlinkError
    from streamlink.session.session import Streamlink

    session = Streamlink()
    try:
        args = apply_options(session, request.get("options", []))
        session.set_option("http-timeout", TIMEOUT)
        name, plugin_class, url = session.resolve_url(request["url"])
        if request["verb"] == "resolve":
            return answer("live", plugin=name)
        plugin = plugin_class(session, url, plugin_options(session, args, name, plugin_class))
        streams = plugin.streams()
        if not streams:
            return answer("offline", "the site offers no stream", plugin=name)
        stream = choose(streams, request["quality"])
        detail = "" if stream else f"none of the qualities {request['quality']} is offered"
        if stream and has_ended(session, stream):
            return answer("ended", "the playlist is closed", plugin=name)
    except NoPluginError:
        return answer("unsupported", "no plugin knows this URL")
    except StreamlinkError as error:
        return answer("offline" if status_of(error) in GONE else "trouble", str(error))
    return answer("live", detail, plugin=name, metadata=metadata_of(plugin), streams=list(streams)[:STREAMS_MAX])


def apply_options(session: Any, options: list[tuple[str, str]]) -> Any:
    """Set the administrator's options as streamlink's command line does: parsed by its own parser."""
    from streamlink_cli.argparser import build_parser, setup_plugin_args, setup_session_options

    parser: Any = build_parser()  # type: ignore[no-untyped-call,unused-ignore]
    setup_plugin_args(session, parser)
    argv = [f"--{name}" if value == "true" else f"--{name}={value}" for name, value in options if value != "false"]
    args, _ = parser.parse_known_args(argv)
    setup_session_options(session, args)
    return args


def plugin_options(session: Any, args: Any, name: str, plugin_class: Any) -> Any:
    """The plugin's own options; a plugin that would ask the user for more gets none."""
    from streamlink.exceptions import StreamlinkError
    from streamlink_cli.argparser import setup_plugin_options

    try:
        return setup_plugin_options(session, args, name, plugin_class)
    except RuntimeError as error:  # there is nobody to ask
        raise StreamlinkError(str(error)) from error


def choose(streams: Any, quality: str) -> Any:
    """The stream that a recording would get, None if it would get none."""
    return next((streams[name] for name in quality.lower().split(",") if name in streams), None)


def has_ended(session: Any, stream: Any) -> bool:
    """Whether a stream is an HLS playlist with an end; a muxed one follows its first part."""
    from streamlink.stream.hls.hls import HLSStream
    from streamlink.stream.hls.m3u8 import parse_m3u8

    stream = next(iter(getattr(stream, "substreams", [])), stream)
    if not isinstance(stream, HLSStream):
        return False
    request = {name: value for name, value in stream.args.items() if name not in ("url", "method", "timeout")}
    response = session.http.get(stream.url, **request)
    response.encoding = "utf-8"  # RFC 8216, 4.1; servers say nothing or something else
    playlist: Any = parse_m3u8(response)
    return bool(playlist.is_endlist)


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error, if there is one; streamlink wraps the cause, and keeps some in `err`."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = getattr(error, "err", None) or error.__cause__ or error.__context__
    return None


def metadata_of(plugin: Any) -> dict[str, str]:
    """What the site says about the stream: id, author, category, title, as far as it does."""
    from streamlink.exceptions import StreamlinkError

    try:
        found = plugin.get_metadata()
    except StreamlinkError:
        return {}
    return {name: str(value)[:TEXT_MAX] for name, value in found.items() if value}


def main() -> None:
    # What streamlink prints by itself must not get between our lines.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    try:
        reply = probe(json.load(sys.stdin))
    except Exception as error:  # a plugin may raise anything
        reply = answer("trouble", f"{type(error).__name__}: {error}")
    json.dump(reply, output)
    output.write("\n")
    output.flush()
    os._exit(0)  # whatever threads a plugin may have left


if __name__ == "__main__":
    main()
