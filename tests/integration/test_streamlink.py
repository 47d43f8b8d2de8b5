# SPDX-License-Identifier: GPL-3.0-or-later
"""The streamlink of Debian 13 and the newest one: both record, and one is exchanged for the other while recording."""

from __future__ import annotations

import io
import json
import zipfile

from tests.fakes.livesource import LiveSource
from tests.integration.harness import Ctl, count
from tests.testbed.box import Box


def record_some(box: Box, ctl: Ctl, source: LiveSource, channel: str, name: str) -> None:
    """A rotation, a death and an end; every frame is there once."""
    ctl("record", source.url(channel), "--name", name)
    ctl("rotate", name, "--wait")
    shim = ctl.segments(name)[1]["pid"]
    box.run(["pkill", "-KILL", "--parent", str(shim)])
    box.wait_for(lambda: len(s := ctl.segments(name)) == 3 and s[2]["phase"] == "writing", "a replacement")
    source.control(channel, end=True)
    box.wait_for(lambda: ctl.state(name) == "completed", "it is joined", timeout=60)
    frames = count(box, ctl.recording(name)["runtime"]["path"], source, channel, first_segment=0)
    assert frames.is_perfect, frames


def test_streamlink_of_debian_and_the_newest(box: Box, ctl: Ctl, source: LiveSource, channel: str) -> None:
    debian = ctl.json("streamlink", "status")
    assert (debian["managed"], debian["version"]) == (False, "7.3.0")
    assert "Twitch" in debian["warning"]
    record_some(box, ctl, source, f"{channel}-old", "old")

    # the running segment keeps its own, what starts next takes the new one
    ctl("record", source.url(f"{channel}-both"), "--name", "both")
    newest = ctl.json("streamlink", "install", timeout=300)
    assert newest["managed"]
    assert tuple(int(part) for part in newest["version"].split(".")) >= (8, 6, 0)
    assert newest.get("warning") is None
    commands = box.run(["ps", "-eo", "args"]).stdout
    assert "/usr/bin/streamlink --config" in commands
    ctl("rotate", "both", "--wait")
    box.wait_for(lambda: "endedAt" in ctl.segments("both")[0], "the old segment has ended")
    assert newest["command"] in box.run(["ps", "-eo", "args"]).stdout
    source.control(f"{channel}-both", end=True)
    box.wait_for(lambda: ctl.state("both") == "completed", "it is joined", timeout=60)
    frames = count(box, ctl.recording("both")["runtime"]["path"], source, f"{channel}-both", first_segment=0)
    assert frames.is_perfect, frames

    record_some(box, ctl, source, f"{channel}-new", "new")
    box.run(["systemctl", "restart", "streamvaultd"])
    assert ctl.json("streamlink", "status")["version"] == newest["version"]


def test_a_version_that_does_not_exist_changes_nothing(box: Box, ctl: Ctl) -> None:
    before = ctl.json("streamlink", "status")
    refused = ctl("streamlink", "install", "0.0.1", check=False, timeout=300)
    assert refused.returncode == 1, refused.stdout
    assert "cannot install streamlink 0.0.1" in refused.stderr
    assert "its checksums are not known" in refused.stderr
    refused = ctl("streamlink", "install", "0.0.1", "--no-hashes", check=False, timeout=300)
    assert refused.returncode == 1, refused.stdout
    assert ctl.json("streamlink", "status") == before


PLACE = "/var/lib/streamvault-streamlink"
STATE = "/var/lib/streamvaultd"
CREDENTIALS = "/run/planted"
PLANTED = "planted-3b9f6a51"
LOOK = f'''
import json, os, sys

def tried(act):
    try:
        return str(act())
    except OSError as error:
        return type(error).__name__

def read(path):
    with open(path, "rb") as file:
        return file.read(64)

def write(path, text="planted"):
    with open(path, "w") as file:
        return file.write(text)

def look():
    return {{
        "credential": tried(lambda: read("{CREDENTIALS}/streamvault.planted")),
        "store": tried(lambda: read("{STATE}/streamvaultd.sqlite")),
        "settings": tried(lambda: read("/etc/streamvaultd/conf.d/test.toml")),
        "socket": tried(lambda: os.listdir("/run/streamvaultd")),
        "state": tried(lambda: write("{STATE}/new")),
        "itself": tried(lambda: write(sys.prefix + "/new")),
        "current": tried(lambda: os.symlink("x", "{PLACE}/" + str(os.getuid()))),
    }}

def main():
    reached = [result for result in look().values() if not result.endswith("Error")]
    print(f"streamlink 99.0.{{len(reached)}}")
'''
"""A streamlink that says how much it reaches when it is asked for its version."""

BY_PIP = f'''{LOOK}
if sys.prefix.startswith("{PLACE}/") and not os.path.exists(sys.prefix + "/told"):
    told = look() | {{"uid": os.getuid(), "directory": os.environ.get("CREDENTIALS_DIRECTORY", "")}}
    write(sys.prefix + "/told", json.dumps(told))
'''
"""Runs where pip does, as what it installs could."""


def plant_package(box: Box) -> None:
    """The only one that the unit which installs can find."""
    name = "streamlink-99.0.2.dist-info"
    files = {
        "streamlink.py": LOOK,
        f"{name}/METADATA": "Metadata-Version: 2.1\nName: streamlink\nVersion: 99.0.2\n",
        f"{name}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}/entry_points.txt": "[console_scripts]\nstreamlink = streamlink:main\n",
    }
    files[f"{name}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{name}/RECORD"])
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as file:
        for path, text in files.items():
            file.writestr(path, text)
    box.write_file("/srv/index/streamlink-99.0.2-py3-none-any.whl", wheel.getvalue())
    box.write_file("/srv/look/sitecustomize.py", BY_PIP)
    drop_in = "[Service]\nEnvironment=PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/index PYTHONPATH=/srv/look\n"
    box.write_file("/etc/systemd/system/streamvault-install@.service.d/test.conf", drop_in)
    # systemd cannot mount the daemon's credentials in a box
    drop_in = f"[Service]\nEnvironment=CREDENTIALS_DIRECTORY={CREDENTIALS}\n"
    box.write_file("/etc/systemd/system/streamvaultd.service.d/planted.conf", drop_in)
    box.write_file(f"{CREDENTIALS}/streamvault.planted", f"x={PLANTED}\n")
    box.run(["chown", "-R", "_streamvault", CREDENTIALS])
    box.run(["chmod", "-R", "u=rX,go=", CREDENTIALS])
    box.run(["systemctl", "daemon-reload"])
    box.run(["systemctl", "restart", "streamvaultd"])


def writable_for(box: Box, user: str) -> list[str]:
    """What of the private streamlink this user may write to, mounts aside."""
    find = ["env", "--chdir=/", "find", PLACE, "-writable", "!", "-type", "l"]
    return box.run(["runuser", "-u", user, "--", *find]).stdout.splitlines()


def test_what_is_installed_sees_nothing_and_belongs_to_nobody_else(box: Box, ctl: Ctl) -> None:
    plant_package(box)
    box.run(["useradd", "--groups=_streamvault", "member"])
    as_member = ["runuser", "-u", "member", "--", "streamvaultctl", "streamlink", "install", "99.0.2", "--no-hashes"]
    refused = box.run(as_member, check=False)
    assert refused.returncode == 1
    assert "only root may" in refused.stderr
    assert 'install = "group"' in refused.stderr
    found = ctl.json("streamlink", "install", "99.0.2", "--no-hashes", timeout=300)
    installer = json.loads(box.path(f"{found['command'].removesuffix('/bin/streamlink')}/told").read_text())

    # where it was installed
    assert installer["uid"] == int(box.run(["id", "-u", "_streamvault-install"]).stdout)
    reached = {key: installer[key] for key in ("credential", "store", "settings", "socket", "state")}
    assert set(reached.values()) <= {"FileNotFoundError", "PermissionError", "OSError"}, reached  # or read-only
    assert installer["directory"] == ""

    # where the daemon asked it; the control is the same user in the same mount namespace
    assert (found["version"], found["managed"]) == ("99.0.0", True)
    pid = box.run(["systemctl", "show", "--property=MainPID", "--value", "streamvaultd"]).stdout.strip()
    enter = ["nsenter", "--mount", "--target", pid, "--"]
    user = ["setpriv", "--reuid=_streamvault", "--regid=_streamvault", "--init-groups"]
    alone = box.run([*enter, *user, found["command"], "--version"]).stdout
    assert alone == "streamlink 99.0.5\n", "the five that the installer does not reach"
    kinds = ("LoadCredential", "LoadCredentialEncrypted", "ImportCredential", "SetCredential")
    shown = ["systemctl", "show", *(f"--property={kind}" for kind in kinds)]
    assert "streamvault.*" in box.run([*shown, "streamvaultd"]).stdout
    assert "streamvault" not in box.run([*shown, "streamvault-install@x"]).stdout

    # what it may change
    assert (installer["itself"], installer["current"]) == ("7", "None")
    assert writable_for(box, "_streamvault") == []
    assert found["command"] in writable_for(box, "_streamvault-install")


def test_one_of_an_earlier_version_is_handed_over_and_used(box: Box, ctl: Ctl) -> None:
    """It was the daemon's own, which is not run; the package gives it to root, once."""
    box.run(["rm", "-r", PLACE])
    old = f"{STATE}/streamlink/versions/20260101T000000.000000"
    box.write_file(f"{old}/bin/streamlink", "#!/bin/sh\necho 'streamlink 97.0.0'\n")
    box.run(["ln", "-s", "versions/20260101T000000.000000", f"{STATE}/streamlink/current"])
    box.run(["chmod", "-R", "u=rwX,g=rX,o=", f"{STATE}/streamlink"])
    box.run(["chmod", "750", f"{old}/bin/streamlink"])
    box.run(["chown", "-R", "_streamvault:_streamvault", f"{STATE}/streamlink"])
    refused = ctl("streamlink", "status", check=False)
    assert "who may have changed it" in refused.stderr
    assert "'streamvaultctl streamlink install'" in refused.stderr
    configure = ["/var/lib/dpkg/info/streamvaultd.postinst", "configure", "0.1.0"]
    environment = ["env", "DPKG_MAINTSCRIPT_PACKAGE=streamvaultd", "DPKG_MAINTSCRIPT_NAME=postinst"]
    box.run([*environment, *configure])
    found = ctl.json("streamlink", "status")
    assert (found["version"], found["command"]) == ("97.0.0", f"{old}/bin/streamlink")
    # another one is not handed over
    box.run(["chown", "-R", "_streamvault", f"{STATE}/streamlink"])
    box.run([*environment, *configure])
    assert "who may have changed it" in ctl("streamlink", "status", check=False).stderr
