# SPDX-License-Identifier: GPL-3.0-or-later
"""A mistake in a file that is made while the daemon is down: what was right before holds, and the mistake is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamvaultd.config import streamers
from streamvaultd.config.last_good import LastGood, load_or_last, streamers_or_last
from streamvaultd.config.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

GARBAGE = "[recording\ngrace = "


def restarted(folder: Path) -> LastGood:
    """What a new daemon knows."""
    return LastGood(folder / "last-good")


# --- settings ------------------------------------------------------------------------------------------------------


def test_settings_with_mistakes_are_those_of_before_over_a_restart(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('[recording]\ndirectory = "/srv/media"\n')
    second.write_text('[watch]\ninterval = "77s"\n')
    good, none = load_or_last((first, second), restarted(tmp_path))
    assert (good.directory.as_posix(), good.watch_interval, none) == ("/srv/media", 77.0, ())

    first.write_text(GARBAGE)
    found, [mistake] = load_or_last((first, second), restarted(tmp_path))
    assert found == good
    assert str(first) in str(mistake)
    first.write_text("[recording]\ngrace = true\ndirectry = 1\n")
    found, mistakes = load_or_last((first, second), restarted(tmp_path))
    assert found == good
    assert len(mistakes) == 2

    first.unlink()
    found, none = load_or_last((second,), restarted(tmp_path))
    assert (found.directory, found.watch_interval, none) == (Settings().directory, 77.0, ())
    second.write_text(GARBAGE)
    assert load_or_last((second,), restarted(tmp_path))[0] == found, "the last ones without a mistake"


def test_without_a_memory_what_is_valid_applies(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[watch]\ninterval = "77s"\nspacing = "x"\n')
    found, mistakes = load_or_last((file,), restarted(tmp_path))
    assert (found.watch_interval, len(mistakes)) == (77.0, 1)
    (tmp_path / "last-good").write_bytes(b'{"a": 1, \xff')
    assert load_or_last((file,), restarted(tmp_path))[0] == found


def test_what_is_kept_is_nobody_elses_to_read(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[streamlink]\noptions = { http-header = "token" }\n')
    load_or_last((file,), restarted(tmp_path))
    assert (tmp_path / "last-good").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_takes_nothing_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[watch]\ninterval = "77s"\n')
    found, mistakes = load_or_last((file,), LastGood(tmp_path / "away" / "last-good"))
    assert (found.watch_interval, mistakes) == (77.0, ())


# --- streamers -----------------------------------------------------------------------------------------------------


def names(folders: tuple[Path, Path], last: LastGood) -> tuple[dict[str, tuple[str, bool]], int]:
    """Who is watched by a new daemon, at which URL and whether the file is ours; and how many mistakes there are."""
    found, mistakes = streamers_or_last(folders, {}, {}, last)
    return {name: (one.url, one.is_ours) for name, one in found.items()}, len(mistakes)


def test_a_streamer_with_a_mistake_is_watched_as_before_over_a_restart(tmp_path: Path) -> None:
    folders = tmp_path / "etc", tmp_path / "own"
    for folder, name in zip(folders, ("ada", "bob"), strict=True):
        folder.mkdir()
        (folder / f"{name}.toml").write_text(f'[streamer]\nurl = "https://example.org/{name}"\n')
    everybody = {"ada": ("https://example.org/ada", False), "bob": ("https://example.org/bob", True)}
    assert names(folders, restarted(tmp_path)) == (everybody, 0)

    (folders[0] / "ada.toml").write_text("[streamer]\nurll = 1\n")
    (folders[1] / "bob.toml").write_text(GARBAGE)
    found, mistakes = names(folders, restarted(tmp_path))
    assert found == everybody
    assert mistakes >= 2
    assert names(folders, restarted(tmp_path))[0] == everybody, "and again at the next start"

    (folders[1] / "bob.toml").unlink()
    assert set(names(folders, restarted(tmp_path))[0]) == {"ada"}
    (folders[1] / "bob.toml").write_text(GARBAGE)
    assert set(names(folders, restarted(tmp_path))[0]) == {"ada"}, "who was removed is forgotten"


def test_a_folder_that_cannot_be_read_loses_nobody(tmp_path: Path) -> None:
    folders = tmp_path / "etc", tmp_path / "own"
    folders[0].mkdir()
    (folders[0] / "ada.toml").write_text('[streamer]\nurl = "https://example.org/ada"\n')
    names(folders, restarted(tmp_path))
    folders[0].rename(tmp_path / "away")
    folders[0].write_text("no folder")
    found, mistakes = names(folders, restarted(tmp_path))
    assert (set(found), mistakes) == ({"ada"}, 1)
    assert streamers.load(folders, {})[0] == {}, "without a memory"
