# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses a URL names, and what a segment may reach."""

from __future__ import annotations

import pytest

from streamvaultd.base.networks import GUARDED, is_guarded, named_by, parse_network, reachable, resolvers_in

LOCALHOST = ("127.0.0.1/32", "::1/128")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://127.0.0.1:8080/live.m3u8", ("127.0.0.1/32",)),
        ("hls://http://127.0.0.5/live.m3u8", ("127.0.0.5/32",)),
        ("http://user:word@[::1]:80/x", ("::1/128",)),
        ("http://localhost/x", LOCALHOST),
        ("HTTP://LOCALHOST./x", LOCALHOST),
        ("http://cam.localhost/x", LOCALHOST),
        ("socks5h://127.0.0.1:1080", ("127.0.0.1/32",)),
        ("http://169.254.7.7/x", ("169.254.7.7/32",)),
        ("localhost:3128", LOCALHOST),
        ("https://site.example/live", ()),
        ("http://192.168.1.5/live", ()),
        ("https://site.example/?next=http://127.0.0.1/", ()),
        ("https://site.example/http://127.0.0.1/", ()),
        ("https://127.0.0.1.site.example/", ()),
        ("https://127.0.0.1@site.example/", ()),
        ("https://localhost.site.example/", ()),
        ("http://[broken", ()),
        ("", ()),
    ],
)
def test_only_the_host_of_a_url_names_an_address(url: str, named: tuple[str, ...]) -> None:
    assert named_by(url) == named


def test_a_resolver_of_this_host_stays_reachable_and_others_need_nothing() -> None:
    text = "# nameserver 127.0.0.9\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver 9.9.9.9\nnameserver x\n"
    assert resolvers_in(text) == ("127.0.0.53/32", "fe80::1/128")


def test_what_may_be_reached_is_what_was_named_once() -> None:
    urls = ["https://site.example/", "http://127.0.0.1:3128"]
    assert reachable(urls, ["169.254.0.0/16", "127.0.0.1/32"], "nameserver 127.0.0.53") == (
        "127.0.0.1/32", "169.254.0.0/16", "127.0.0.53/32",
    )  # fmt: skip
    assert reachable(["https://site.example/"], [], "nameserver 9.9.9.9") == ()


@pytest.mark.parametrize(
    "address", ["127.3.2.1", "::1", "169.254.169.254", "fe80::9", "224.0.0.251", "ff02::fb", "0.0.0.1"]
)
def test_addresses_of_the_host_and_its_neighbourhood_are_guarded(address: str) -> None:
    assert is_guarded(parse_network(address))


def test_the_internet_is_not_guarded() -> None:
    assert not any(is_guarded(parse_network(address)) for address in ("8.8.8.8", "192.168.1.1", "10.0.0.1", "2600::1"))
    assert len(GUARDED) == len(set(GUARDED))
