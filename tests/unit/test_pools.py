# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of proxies: sections of streamvaultd.toml, named in the files of streamers."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvaultd.config import settings as config
from streamvaultd.config import streamers
from streamvaultd.core.watching.proxies import Pool

EU = Pool(urls=("http://a:1", "socks5h://b:2"), secrets=("eu-proxies",))


def load(folder: Path, *texts: str) -> tuple[config.Settings, str]:
    """The settings of these files, and their mistakes in one text."""
    files = [folder / f"{number}.toml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    settings, mistakes = config.load(tuple(files))
    return settings, "\n".join(map(str, mistakes))


def test_pools_have_urls_and_credentials_and_later_files_win_key_by_key(tmp_path: Path) -> None:
    first = '[proxies.eu]\nurls = ["http://a:1", "socks5h://b:2"]\n[proxies.us]\nurls = "direct"\n'
    settings, mistakes = load(tmp_path, first, '[proxies.eu]\nsecrets = "eu-proxies"\n')
    assert mistakes == ""
    assert settings.pools == {"eu": EU, "us": Pool(urls=("direct",))}
    shown = {(option.section, option.key): value for option, value in config.in_force(settings)}
    assert shown["proxies.eu", "urls"] == "http://a:1 socks5h://b:2"
    assert shown["proxies.us", "secrets"] == "[]"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[proxies.eu]\nurls = ["http://user:planted@a:1"]\n', "must not hold a password"),
        ("[proxies.eu]\nurls = []\n", "or a list of them"),
        ('[proxies.eu]\nurls = ["us"]\n[proxies.us]\nurls = "direct"\n', "a URL such as"),
        ('[proxies.eu]\nsecrets = ["not a name"]\n', "names of credentials"),
        ('[proxies.eu]\npassword = "planted"\n', "no such setting; there are urls, secrets"),
        ('[proxies.direct]\nurls = "http://a:1"\n', "no name for a pool"),
        ('[proxies."a/b"]\nurls = "http://a:1"\n', "no name for a pool"),
        ('[proxies]\nurls = "http://user:planted@a:1"\n', "[proxies.NAME]"),
    ],
)
def test_a_mistake_says_what_is_allowed_and_shows_no_password(tmp_path: Path, text: str, why: str) -> None:
    _, mistakes = load(tmp_path, text)
    assert why in mistakes
    assert "proxies" in mistakes
    assert "planted" not in mistakes


def test_options_of_streamlink_are_not_shown_either(tmp_path: Path) -> None:
    _, mistakes = load(tmp_path, '[streamlink]\noptions = { http-cookie = "planted", stdout = true }\n')
    assert "stdout" in mistakes
    assert "planted" not in mistakes


def streamer(proxy: object, pools: dict[str, Pool] | None = None) -> tuple[tuple[str, ...] | None, str]:
    """The proxies of a streamer whose file says so, and its mistakes."""
    document = {"streamer": {"url": "https://a.example/"}, "streamlink": {"proxy": proxy}}
    found, mistakes = streamers.parse(document, "x.toml", "x", pools)
    return (None if found is None else found.proxies), "\n".join(map(str, mistakes))


def test_a_name_stands_for_the_proxies_of_its_pool() -> None:
    pools = {"eu": EU, "us": Pool(urls=("http://a:1", "http://c:3"))}
    eu = ("http://a:1", "socks5h://b:2", "credential:eu-proxies")
    assert streamer("eu", pools) == (eu, "")
    assert streamer(["http://z:9", "us", "eu", "direct"], pools) == (
        ("http://z:9", "http://a:1", "http://c:3", "socks5h://b:2", "credential:eu-proxies", "direct"), "",
    )  # fmt: skip


@pytest.mark.parametrize("pools", [{}, {"us": EU}])
def test_a_name_that_no_pool_has_is_a_mistake(pools: dict[str, Pool]) -> None:
    proxies, mistakes = streamer(["eu", "direct"], pools)
    assert proxies is None
    assert "there is no pool 'eu', a section [proxies.eu] of streamvaultd.toml" in mistakes
    assert f"there is {'us' if pools else 'none'}" in mistakes


def test_nobody_can_name_a_credential_as_if_it_were_a_proxy() -> None:
    proxies, mistakes = streamer("credential:eu-proxies", {"eu": EU})
    assert proxies is None
    assert "the name of a pool" in mistakes


def test_a_pool_that_goes_leaves_its_streamers_as_they_were(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "alice.toml").write_text("[streamer]\nurl = 'https://a.example/'\n[streamlink]\nproxy = 'eu'\n")
    folders = (folder, tmp_path / "var")
    before, mistakes = streamers.load(folders, {}, {"eu": EU})
    assert mistakes == ()
    after, mistakes = streamers.load(folders, before, {})
    assert after == before
    assert len(mistakes) == 1
    assert streamers.load(folders, {}, {})[0] == {}
