# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks for vms: layers of a root and the vm's agent in one ext4 file system, cached by what they are made from."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.spaces import Root, cache

SIZE = "6G"
IMAGES_KEPT = 3
AGENT_HOME = "/usr/local/lib/testbed"
AGENT_FILES = ("vm_agent.py", "vm_wire.py")
PYTHON_PACKAGES = "usr/lib/python3/dist-packages"
PLUGIN_TABLE = "streamlink/plugins/_plugins.json"

# It begins with the earliest units and nothing stops it: a shutdown can be watched to its end.
AGENT_UNIT = f"""
[Unit]
Description=Agent of the testbed
DefaultDependencies=no

[Service]
ExecStart=/usr/bin/python3 -S -m tests.testbed.vm_agent
WorkingDirectory={AGENT_HOME}
Restart=always
OOMScoreAdjust=-1000
TasksMax=infinity
"""
# 10.0.2.2 is this host's loopback. There is no default route: nothing else can be reached.
NETWORK_UNIT = """
[Unit]
Description=Network of the testbed
DefaultDependencies=no
BindsTo=sys-subsystem-net-devices-eth0.device
After=sys-subsystem-net-devices-eth0.device
Before=network.target network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip address replace 10.0.2.15/24 dev eth0
ExecStart=ip link set eth0 up
"""
# Of the devices, only those that a vm has for us: each module of the rest takes seconds under emulation.
UDEV_TRIGGER = """
[Service]
ExecStart=
ExecStart=udevadm trigger --action=add --subsystem-match=virtio --subsystem-match=block --subsystem-match=net
"""
# Units that nothing here needs: an empty file is a masked unit.
MASKED = (
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount"),
    *("modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service"),
    *("kmod-static-nodes.service", "systemd-binfmt.service", "systemd-update-utmp.service"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service"),
    *("systemd-ask-password-console.path", "systemd-ask-password-wall.path", "systemd-random-seed.service"),
    *("systemd-creds.socket", "systemd-hostnamed.socket", "systemd-sysext.socket", "systemd-initctl.socket"),
    *("systemd-udev-load-credentials.service", "ldconfig.service", "systemd-journal-catalog-update.service"),
)
FILES = {
    **{f"/etc/systemd/system/{unit}": "" for unit in MASKED},
    "/etc/systemd/system/systemd-udev-trigger.service.d/testbed.conf": UDEV_TRIGGER,
    # newer than anything in /usr: nothing is to be brought up to date
    "/etc/.updated": "",
    "/var/.updated": "",
    "/etc/systemd/system/testbed-agent.service": AGENT_UNIT,
    "/etc/systemd/system/sysinit.target.d/testbed.conf": "[Unit]\nWants=testbed-agent.service\n",
    "/etc/systemd/system/testbed-network.service": NETWORK_UNIT,
    "/etc/systemd/system/multi-user.target.d/testbed.conf": "[Unit]\nWants=testbed-network.service\n",
    # what a box has of this host's way to the network leads nowhere here
    "/etc/systemd/system.conf.d/testbed.conf": "",
    "/etc/apt/apt.conf.d/90testbed": "",
    "/etc/resolv.conf": "",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/fstab": "",
    f"{AGENT_HOME}/tests/__init__.py": "",
    f"{AGENT_HOME}/tests/testbed/__init__.py": "",
}
MAKE = f"""
mount -t overlay overlay -o "lowerdir=$LOWER" "$MOUNT"
truncate --size={SIZE} "$IMAGE"
mkfs.ext4 -q -F -m 0 -J size=32 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard -d "$MOUNT" "$IMAGE"
cp "$MOUNT"/boot/vmlinuz-* "$KERNEL"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """A root disk that is never written to, and the kernel in it."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"


def ensure_image(layers: tuple[Path, ...]) -> Image:
    """The image of these layers, topmost first; made now if there is none (some 15 s)."""
    files = {**guest_files(), **streamlink_record(layers)}
    digest = hashlib.sha256(f"{layers} {sorted(files.items())} {MAKE}".encode()).hexdigest()
    images = cache() / "images"
    images.mkdir(parents=True, exist_ok=True)
    with (images / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = Image(images / digest[:12])
        if not image.folder.exists():
            _make(image, layers, files)
        image.folder.touch()
        _prune(images)
    return image


def guest_files() -> dict[str, str]:
    """What a vm has besides its layers: path → text."""
    here = Path(__file__).parent
    agent = {f"{AGENT_HOME}/tests/testbed/{name}": (here / name).read_text() for name in AGENT_FILES}
    # the journal's folder bears this name: it must not differ from boot to boot
    machine = {"/etc/machine-id": hashlib.md5(b"streamvaultd-testbed", usedforsecurity=False).hexdigest() + "\n"}
    return {**FILES, **agent, **machine}


def streamlink_record(layers: tuple[Path, ...]) -> dict[str, str]:
    """The checksum without which streamlink does not trust its own table of plugins, but imports all of them at each
    start. Its wheels have it, Debian's package has not; under emulation it saves ten seconds per start.
    """
    for layer in layers:
        for about in layer.glob(f"{PYTHON_PACKAGES}/streamlink-*.dist-info"):
            table = layer / PYTHON_PACKAGES / PLUGIN_TABLE
            content = table.read_bytes()
            checksum = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            line = f"{PLUGIN_TABLE},sha256={checksum},{len(content)}\n"
            return {f"/{PYTHON_PACKAGES}/{about.name}/RECORD": line}
    return {}


def _make(image: Image, layers: tuple[Path, ...], files: dict[str, str]) -> None:
    root = Root(folder=image.folder.with_suffix(".new"), lower=layers)
    root.create()
    for path, text in files.items():
        root.write(path, text)
    made = Image(root.folder / "made")
    made.folder.mkdir()
    environment = {
        **os.environ,
        "LOWER": ":".join(map(str, (root.upper, *layers))),
        "MOUNT": str(root.folder / "root"),
        "IMAGE": str(made.disk),
        "KERNEL": str(made.kernel),
    }
    # in a mount namespace of its own: nobody sees the mount, and it is gone with the script
    subprocess.run(["unshare", "--mount", "sh", "-euc", MAKE], check=True, env=environment)
    made.folder.rename(image.folder)
    root.remove()


def _prune(images: Path) -> None:
    """Remove what was used longest ago, and by no vm that is there."""
    used = {json.loads(state.read_text())["image"] for state in (cache() / "vms").glob("*/state.json")}
    found = sorted(images.glob("*/"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in found[IMAGES_KEPT:]:
        if str(folder) not in used:
            shutil.rmtree(folder)
