# SPDX-License-Identifier: GPL-3.0-or-later
"""Text -> Settings: TOML files parsed once, at the edge, into typed values.

Order, later wins key by key: built-in defaults, /usr/lib/streamvaultd/streamvaultd.toml,
/etc/streamvaultd/streamvaultd.toml, /etc/streamvaultd/conf.d/*.toml (by name). Sizes `100G`, time spans `23h58m48s`
as systemd writes them. All mistakes of all files are reported at once; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import tomli

from streamvaultd.config import keys, proxies
from streamvaultd.config.keys import Setting
from streamvaultd.config.kinds import HIDDEN, Unfit, readable, shown
from streamvaultd.core.model import Policy
from streamvaultd.core.topic import Topic
from streamvaultd.core.upkeep.retention import RetentionRules
from streamvaultd.core.watching.proxies import Pool
from streamvaultd.errors import ConfigInvalid, ConfigUnreadable, VaultError

ROOT: Final = Path("/")

_BY_KEY: Final = {(setting.section, setting.key): setting for setting in keys.GENERAL}
_DEFAULTS: Final = {setting.target: setting.default_value for setting in keys.GENERAL}


def _defaults(part: str) -> dict[str, Any]:
    """Those of the fields of a part, such as the policy."""
    return {name.removeprefix(part): value for name, value in _DEFAULTS.items() if name.startswith(part)}


_POLICY: Final = Policy(**_defaults("policy."))
_RETENTION: Final = RetentionRules(**_defaults("retention."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be configured, as the table has it; durations in seconds, sizes in bytes."""

    directory: Path = _DEFAULTS["directory"]
    filename: str = _DEFAULTS["filename"]
    quality: str = _DEFAULTS["quality"]
    policy: Policy = _POLICY
    streamlink_command: tuple[str, ...] = _DEFAULTS["streamlink_command"]
    streamlink_options: tuple[tuple[str, str], ...] = _DEFAULTS["streamlink_options"]
    streamlink_read: tuple[str, ...] = _DEFAULTS["streamlink_read"]
    streamlink_install: str = _DEFAULTS["streamlink_install"]
    store_path: Path = _DEFAULTS["store_path"]
    catalogue: str = _DEFAULTS["catalogue"]
    sync_interval: float = _DEFAULTS["sync_interval"]
    watch_interval: float = _DEFAULTS["watch_interval"]
    watch_spacing: float = _DEFAULTS["watch_spacing"]
    network_allow: tuple[str, ...] = _DEFAULTS["network_allow"]
    disk_reserve: float = _DEFAULTS["disk_reserve"]
    disk_floor: int = _DEFAULTS["disk_floor"]
    metrics_listen: str = _DEFAULTS["metrics_listen"]
    metrics_textfile: str = _DEFAULTS["metrics_textfile"]
    notify: tuple[str, ...] = _DEFAULTS["notify"]
    events: tuple[Topic, ...] = _DEFAULTS["events"]
    notify_hourly: int = _DEFAULTS["notify_hourly"]
    chat_server: str = _DEFAULTS["chat_server"]
    chat_authority: str = _DEFAULTS["chat_authority"]
    pools: Mapping[str, Pool] = field(default_factory=dict)
    retention: RetentionRules = _RETENTION


def files(root: Path = ROOT) -> tuple[Path, ...]:
    """The configuration files that exist, in the order in which they are read."""
    fixed = (root / "usr/lib/streamvaultd/streamvaultd.toml", root / "etc/streamvaultd/streamvaultd.toml")
    return (*(f for f in fixed if f.exists()), *sorted((root / "etc/streamvaultd/conf.d").glob("*.toml")))


def load(paths: tuple[Path, ...]) -> tuple[Settings, tuple[VaultError, ...]]:
    """Settings of these files on top of the defaults, and every mistake found; with mistakes, do not use them."""
    texts, unreadable = read(paths)
    settings, mistakes = parse(texts)
    return settings, (*unreadable, *mistakes)


def read(paths: tuple[Path, ...]) -> tuple[dict[str, str], tuple[VaultError, ...]]:
    """The files' texts by their names, in order; and those that cannot be read."""
    texts: dict[str, str] = {}
    mistakes: list[VaultError] = []
    for path in paths:
        try:
            texts[readable(path)] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            mistakes.append(ConfigUnreadable(file=readable(path), why=why or str(error)))
    return texts, tuple(mistakes)


def parse(texts: Mapping[str, str]) -> tuple[Settings, tuple[VaultError, ...]]:
    """Settings of the texts of files on top of the defaults, and every mistake found."""
    settings = Settings()
    mistakes: list[VaultError] = []
    for file, text in texts.items():
        try:
            document = tomli.loads(text)
        except (ValueError, RecursionError) as error:
            mistakes.append(ConfigUnreadable(file=file, why=str(error)))
            continue
        settings, found = apply(settings, document, file)
        mistakes += found
    return settings, tuple(mistakes)


def apply(settings: Settings, document: Mapping[str, Any], file: str) -> tuple[Settings, list[VaultError]]:
    """The settings with one parsed document on top; `file` is named in the mistakes."""
    mistakes: list[VaultError] = []
    for section, key, value in _entries(document):
        setting = _BY_KEY.get((section, key))
        try:
            settings = _put(settings, section, key, value)
        except ValueError as error:
            told = HIDDEN if setting is None or setting.hidden else shown(value)
            mistakes.append(ConfigInvalid(file=file, section=section, key=key, value=told, why=str(error)))
    return settings, mistakes


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for section, content in document.items():
        if (
            section == proxies.SECTION
            and isinstance(content, dict)
            and all(isinstance(c, dict) for c in content.values())
        ):
            yield from ((f"{section}.{name}", key, value) for name in content for key, value in content[name].items())
        elif isinstance(content, dict) and section in {setting.section for setting in keys.GENERAL}:
            yield from ((section, key, value) for key, value in content.items())
        else:
            yield section, "", content


def _put(settings: Settings, section: str, key: str, value: Any) -> Settings:
    """The settings with this value of a key; raises Unfit."""
    setting = _BY_KEY.get((section, key))
    pool = section.removeprefix(f"{proxies.SECTION}.")
    if setting is not None:
        name, _, inner = setting.target.partition(".")
        found = setting.kind.parse(value)
        changes: dict[str, Any] = {name: replace(getattr(settings, name), **{inner: found}) if inner else found}
        return replace(settings, **changes)
    if pool == section:
        raise Unfit(f"no such setting; there are {_known(section)}")
    if key not in keys.POOLS:
        raise Unfit(f"no such setting; there are {', '.join(keys.POOLS)}")
    before = settings.pools.get(proxies.check_pool(pool), Pool())
    changed = replace(before, **{key: keys.POOLS[key].kind.parse(value)})
    return replace(settings, pools={**settings.pools, pool: changed})


def _known(section: str) -> str:
    named = [setting.key for setting in keys.GENERAL if setting.section == section]
    sections = dict.fromkeys([*(setting.section for setting in keys.GENERAL), keys.POOL])
    return ", ".join(named) if named else "[" + "], [".join(sections) + "]"


def in_force(settings: Settings) -> Iterator[tuple[Setting, str]]:
    """Every setting with the value that it has, as it is written in a file; secrets are not shown."""
    for setting in keys.GENERAL:
        yield setting, setting.kind.show(attrgetter(setting.target)(settings))
    for name, pool in sorted(settings.pools.items()):
        for setting in keys.POOLS.values():
            value = setting.kind.show(getattr(pool, setting.target))
            yield replace(setting, section=f"{proxies.SECTION}.{name}"), value
