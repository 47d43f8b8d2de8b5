# SPDX-License-Identifier: GPL-3.0-or-later
"""What a root takes over from this host: its way to the network (resolver, proxies, certificates, pip)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

COPIED = (
    "/etc/resolv.conf",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
)
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
APT_LINES = re.compile(r'Acquire::(https?|Retries|Check-|ForceIPv)\S* ".+";')


def environment() -> dict[str, str]:
    """Variables that lead pip and HTTP clients through this host's network."""
    wanted = {}
    for name, value in os.environ.items():
        if name.lower() in PROXIES or (name.startswith("PIP_") and name != "PIP_FIND_LINKS"):
            wanted[name] = value
    return wanted


def apt_settings() -> str:
    """This host's apt settings about downloading, as an apt.conf(5) file."""
    if shutil.which("apt-config") is None:
        return ""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if APT_LINES.fullmatch(line))


def settings() -> dict[str, str]:
    """Files for a root: path → text."""
    files = {path: Path(path).read_text() for path in COPIED if Path(path).exists()}
    files["/etc/apt/apt.conf.d/90testbed"] = apt_settings()
    pairs = " ".join(f'"{name}={value}"' for name, value in sorted(environment().items()))
    files["/etc/systemd/system.conf.d/testbed.conf"] = f"[Manager]\nDefaultEnvironment={pairs}\n"
    return files
