# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents say, against what the code does: a copy that is kept by hand rots."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from streamvaultd import __version__, errors
from streamvaultd.config import keys, streamers
from streamvaultd.config import settings as config
from streamvaultd.config.streamlink_options import RESERVED_OPTIONS
from streamvaultd.core.model import Policy, State
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.core.watching.streamer import Streamer
from streamvaultd.ctl.cli import cli
from streamvaultd.ctl.outcome import ExitCode
from streamvaultd.varlink import idl
from tests.unit.tables import EXAMPLE, PARTS, between, example

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MAN = DOCS / "man"
DOCUMENTS = sorted(path for path in (*DOCS.rglob("*.md"), ROOT / "README.md"))
INTERFACES = ROOT / "streamvaultd" / "varlink"
PAGE_LINES = 60


def words(text: str) -> str:
    """The text with each run of white space as one space."""
    return " ".join(text.split())


def test_every_error_has_a_heading_with_its_text() -> None:
    sections = re.split(r"^### ", (DOCS / "troubleshooting.md").read_text(), flags=re.MULTILINE)[1:]
    described = dict(section.split("\n\n> ", 1) for section in sections)
    texts = {name: text.partition("\n")[0] for name, text in described.items()}
    assert texts == {name.rsplit(".", 1)[1]: cls.what for name, cls in errors.BY_NAME.items()}


def test_errors_stand_below_their_interface() -> None:
    parts = re.split(r"^## .*`(.+)`$", (DOCS / "troubleshooting.md").read_text(), flags=re.MULTILINE)[1:]
    found = {
        f"{interface}.{name}"
        for interface, part in zip(parts[::2], parts[1::2], strict=True)
        for name in re.findall(r"^### (\w+)$", part, re.MULTILINE)
    }
    assert found == set(errors.BY_NAME)


@pytest.mark.parametrize("page", PARTS, ids=lambda page: page.name)
def test_document_repeats_the_code(page: Path) -> None:
    """`python -m tests.unit.tables` writes them anew."""
    begin, made, end = PARTS[page]
    assert between(page.read_text(), begin, end) == made()


def test_man_page_has_every_reserved_option() -> None:
    page = (MAN / "streamvaultd.toml.5.rst").read_text()
    listed = re.findall(r"``([a-z-]+)``", between(page, ".. reserved:begin", ".. reserved:end"))
    assert listed == sorted(RESERVED_OPTIONS)


def test_example_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert text == example()
    active = tmp_path / "streamvaultd.toml"
    active.write_text(re.sub(r"^#(?=\w)", "", text, flags=re.MULTILINE))
    assert config.load((active,)) == (config.Settings(), ())
    assert "keep_size" in active.read_text()


def test_defaults_are_those_of_a_recording_without_settings() -> None:
    """The core has its own, for it reads no files."""
    assert config.Settings().policy == Policy()
    assert config.Settings().retention == RetentionRules()


def test_a_streamers_defaults_are_values_or_words() -> None:
    """Where the man page names a value, that is the default."""
    words = {None, "that of streamvaultd.toml", "[watch] interval", "all", "none"}
    assert {each.default for each in keys.OWN} - words == {"[]", "{}", "true", "false", "0", "UTC"}
    plain, _ = streamers.parse({"streamer": {"url": "https://a.example/1"}}, "alice.toml", "alice")
    assert plain == Streamer(name="alice", url="https://a.example/1", file="alice.toml")
    assert (plain.enabled, plain.filters.stop_on_change, plain.filters.timezone) == (True, False, "UTC")
    assert (Policy().browser, Policy().min_duration, plain.max_duration) == (False, 0, None)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    """Every command that does something, by its words."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, (*path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


def long_options(command: click.Command) -> set[str]:
    """The long options of a command."""
    return {name for option in command.params for name in option.opts if name.startswith("--")}


def test_man_page_has_every_command_and_option() -> None:
    page = (MAN / "streamvaultctl.1.rst").read_text()
    described = between(page, "COMMANDS\n", "OPTIONS\n=")
    entries = [words(line) for line in re.findall(r"^\*\*.+$", described, re.MULTILINE)]
    named = {name: line for line in entries for name in re.findall(r"\*\*([a-z][a-z ]*)\*\*", line)}
    known = commands(cli)
    assert set(named) == set(known)
    common = long_options(cli)
    for name, command in known.items():
        own = {f"**{option}**" for option in long_options(command) - common}
        assert own == set(re.findall(r"\*\*--[a-z-]+\*\*", named[name])), name
    listed = between(page, "OPTIONS\n=======", "EXIT STATUS")
    assert set(re.findall(r"(--[a-z-]+)(?:=|$)", listed, re.MULTILINE)) == common | {"--help"}


def test_man_page_has_every_exit_code() -> None:
    page = (MAN / "streamvaultctl.1.rst").read_text()
    codes = re.findall(r"^\| (\d+)", between(page, "EXIT STATUS", "EXAMPLES"), re.MULTILINE)
    assert [int(code) for code in codes] == sorted(ExitCode)


@pytest.mark.parametrize("name", ["io.streamvault.Recorder", "io.streamvault.Broker"])
def test_man_page_has_every_method(name: str) -> None:
    page = (MAN / "io.streamvault.7.rst").read_text()
    section = re.search(rf"^{re.escape(name)}\n=+\n(.*?)(?=^\S+\n=+$)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    interface = idl.parse((INTERFACES / f"{name}.varlink").read_text())
    assert re.findall(r"^(\w+)$", section[1], re.MULTILINE) == list(interface.methods)


def test_every_state_is_described() -> None:
    text = between((DOCS / "design" / "002-state-machine.md").read_text(), "|---|", "<!-- diagram")
    assert re.findall(r"^\| (\w+) \|", text, re.MULTILINE) == [state.value for state in State]


def test_versions_agree() -> None:
    changelog = (ROOT / "debian" / "changelog").read_text()
    news = (DOCS / "NEWS.md").read_text()
    assert re.findall(r"\((.*?)\)", changelog)[0] == __version__
    assert re.findall(r"^## (\S+)$", news, re.MULTILINE)[0] == __version__
    assert f"streamvaultd_{__version__}_all.deb" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_architecture_fits_two_pages() -> None:
    assert len((DOCS / "ARCHITECTURE.md").read_text().splitlines()) <= 2 * PAGE_LINES


def test_invariants_and_promises_are_those_of_the_design() -> None:
    design = (DOCS / "design" / "001-recording.md").read_text()
    defined = set(re.findall(r"^- \*\*([IP]\d+) ", design, re.MULTILINE))
    sources = [*(ROOT / "streamvaultd").rglob("*.py"), *DOCUMENTS]
    used = {name for path in sources for name in re.findall(r"(?<![\w-])[IP][1-9]\d?(?=[:,.) ]|$)", path.read_text())}
    assert used <= defined
