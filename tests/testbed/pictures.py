# SPDX-License-Identifier: GPL-3.0-or-later
"""make pictures: what the commands show of a real recording, with a rotation and a killed segment, as SVGs in
docs/pictures/. The box is that of the demo.
"""

from __future__ import annotations

import re
import subprocess
import sys
from io import StringIO

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.fakes.livesource import LiveSource
from tests.integration.harness import configure, scopes, streamlink_pid
from tests.testbed import layers, setup
from tests.testbed.box import Box, BoxError
from tests.testbed.demo import Story, build_deb, say
from tests.testbed.machine import RunError, WaitError, read_lines

NAME = "alice"
FOLDER = setup.PROJECT / "docs" / "pictures"
COLUMNS = 110
ROWS = 30
RUNNING = {"status": ("status", NAME, "--lines=4"), "top": ("top", "--interval=4")}
"""What is shown while it is recorded."""

OVER = {"seams": ("seams", NAME), "why": ("why", NAME, "2"), "timeline": ("timeline", NAME, "--svg")}
"""What is shown once it is joined."""

PICTURES = {**RUNNING, **OVER}
FRAMES = 4
"""Of top, whose first one knows no rates yet."""

# As rich has it, without its fonts, which a reader would fetch from elsewhere
FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
HOME = "\x1b[H"
CLOSED = re.compile(r"\x1b\[\?[0-9;]+[hl]|\r")
"""What moves the cursor between screens, and is no colour."""


def title_of(argv: tuple[str, ...]) -> str:
    """What stands above a picture."""
    return f"streamvaultctl {' '.join(argv)}"


def picture(shown: str, argv: tuple[str, ...]) -> str:
    """What a command wrote on a terminal, as an SVG."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(CLOSED.sub("", shown).rstrip("\n")), soft_wrap=True)
    return console.export_svg(title=title_of(argv), theme=MONOKAI, code_format=FORMAT, unique_id=argv[0])


def on_terminal(argv: tuple[str, ...]) -> list[str]:
    """The command as it is run on a terminal of its own, with the columns of a picture."""
    typed = f"stty cols {COLUMNS} rows {ROWS}; exec streamvaultctl {' '.join(argv)}"
    return ["script", "--quiet", "--return", "--command", typed, "/dev/null"]


def look(box: Box, argv: tuple[str, ...]) -> str:
    """What a command writes on a terminal; of top, one of its screens."""
    environ = {"TERM": "xterm-256color", "SYSTEMD_PAGER": ""}
    if argv[0] != "top":
        return box.run(on_terminal(argv), env=environ).stdout
    process = box.popen(on_terminal(argv), stdin=subprocess.PIPE, env=environ)
    seen = ""
    try:
        for line in read_lines(process, timeout=60):
            seen += f"{line}\n"
            if seen.count(HOME) > FRAMES:
                break
    finally:
        process.kill()
        process.communicate()
    screens = seen.split(HOME)
    if len(screens) <= FRAMES:
        raise WaitError(f"top has shown {len(screens) - 1} screens only")
    return screens[FRAMES - 1]


def make() -> None:
    """Record, rotate, kill, and draw what the commands show."""
    deb = build_deb()
    with LiveSource() as source, Box("recorder", layers.installed(deb)) as box:
        configure(box)
        box.run(["systemctl", "restart", "streamvaultd"])
        story = Story(box, source, NAME)
        drawn = draw(story, box)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    for name, text in drawn.items():
        (FOLDER / f"{name}.svg").write_text(text)
        print(f"  docs/pictures/{name}.svg")


def draw(story: Story, box: Box) -> dict[str, str]:
    """The pictures by their names."""
    story.show("streamvaultctl", "record", story.url, "--name", NAME)
    story.watch()
    story.show("streamvaultctl", "rotate", NAME, "--wait")
    story.wait_segment(2)
    story.watch()
    story.show("kill", "-KILL", str(streamlink_pid(box, scopes(box)[0])))
    story.wait_segment(3)
    story.watch()
    drawn = {name: picture(look(box, argv), argv) for name, argv in RUNNING.items()}
    story.source.control(NAME, end=True)
    box.wait_for(lambda: story.ctl.state(NAME) == "completed", "it is joined", timeout=120)
    for name, argv in OVER.items():
        is_drawn = "--svg" in argv
        drawn[name] = story.ctl(*argv).stdout if is_drawn else picture(look(box, argv), argv)
    return drawn


def main() -> int:
    """The pictures, with failures as one line."""
    setup.ensure_tools(tests=False)
    say("Building the package, and recording a local broadcast in a box")
    try:
        make()
    except (BoxError, RunError, WaitError) as error:
        print(f"cannot make the pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
