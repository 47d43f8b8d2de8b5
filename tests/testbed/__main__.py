# SPDX-License-Identifier: GPL-3.0-or-later
"""python3 -m tests.testbed: build the layers, boot boxes and vms, run things in them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import termios
import tty
from pathlib import Path

from tests.fakes.media import MediaError
from tests.testbed import deb, demo, layers, setup
from tests.testbed.box import Box, BoxError
from tests.testbed.spaces import cache
from tests.testbed.vm import Vm, VmError


def main() -> int:
    """The command line; see --help."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.testbed", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("setup", help="install what this host lacks for the testbed")
    command.add_argument("--tests", action="store_true", help="and for all tests: compilers, .venv")
    command.set_defaults(call=lambda args: prepare(tests=args.tests))

    command = commands.add_parser("build", help="make a layer if it is not cached, and print its folders")
    command.add_argument("layer", choices=["base", "build", "kernel"])
    command.set_defaults(call=lambda args: print(*getattr(layers, args.layer)(), sep="\n"))

    command = commands.add_parser("deb", help="build the .deb of this tree, check it with lintian, put it in dist/")
    command.set_defaults(call=lambda _: print(deb.deliver_deb()))

    command = commands.add_parser("boot", help="boot a box, or a vm, that stays until 'stop'")
    command.add_argument("--name", default="box")
    command.add_argument("--deb", type=Path, help="with this .deb installed")
    command.add_argument("--vm", action="store_true", help="with a kernel of its own, under QEMU: some 20 s")
    command.set_defaults(call=lambda args: (boot_vm if args.vm else boot)(args.name, args.deb))

    command = commands.add_parser("exec", help="run a command in a box or vm")
    command.add_argument("name")
    command.add_argument("command", nargs="+")
    command.set_defaults(call=lambda args: execute(args.name, args.command))

    command = commands.add_parser("shell", help="a shell in a box or vm")
    command.add_argument("name", nargs="?", default="box")
    command.set_defaults(call=lambda args: shell(args.name))

    command = commands.add_parser("stop", help="kill a box or vm and remove all of it")
    command.add_argument("name", nargs="?", default="box")
    command.set_defaults(call=lambda args: attached(args.name).close())

    command = commands.add_parser("list", help="the names of the boxes and vms that run")
    command.set_defaults(call=lambda _: print(*running(), sep="\n"))

    command = commands.add_parser("demo", help="record, rotate, kill, join, count: see the README")
    command.add_argument("--host", action="store_true", help="on this machine's own systemd instead of a box")
    command.set_defaults(call=lambda args: demo.main(on_host=args.host))

    args = parser.parse_args()
    try:
        return args.call(args) or 0
    except (BoxError, VmError, deb.DebError, setup.SetupError, MediaError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1


def prepare(*, tests: bool) -> None:
    """Install what is missing on this host."""
    setup.ensure_tools(tests=tests)
    if tests:
        setup.ensure_venv()


def boot(name: str, deb: Path | None) -> None:
    """Boot an untethered box: it stays when this process ends."""
    box = Box(name, layers.installed(deb) if deb else layers.base(), tethered=False)
    box.boot(strict=False)
    print(f"{name} runs, PID 1 is {box.leader}: python3 -m tests.testbed exec {name} -- systemctl status")


def boot_vm(name: str, deb: Path | None) -> None:
    """Boot an untethered vm."""
    below = layers.kernel()
    vm = Vm(name, layers.installed(deb, below) if deb else below, tethered=False)
    vm.boot(strict=False)
    print(f"{name} runs, its console is in {vm.folder}: python3 -m tests.testbed exec {name} -- systemctl status")


def attached(name: str) -> Box | Vm:
    """The running box or vm of this name."""
    for machine in (Box(name), Vm(name)):
        if machine.attach():
            return machine
    raise BoxError(f"cannot find a running box or vm '{name}'; there are: {' '.join(running()) or 'none'}")


def execute(name: str, command: list[str]) -> None:
    """Replace this process by the command in the box or vm."""
    machine = attached(name)
    argv = machine.argv(command)
    environment = {**machine.environment(), "TERM": os.environ.get("TERM", "dumb")}
    os.execve(argv[0], argv, environment)  # noqa: S606


def shell(name: str) -> int:
    """A shell; a vm has no terminal of ours, so script(1) makes one there, and ours passes everything on."""
    machine = attached(name)
    if isinstance(machine, Box):
        execute(name, ["bash", "-l"])
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        environment = {**machine.environment(), "TERM": os.environ.get("TERM", "dumb")}
        return subprocess.call(machine.argv(["script", "-qfc", "bash -l", "/dev/null"]), env=environment)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def running() -> list[str]:
    """Names of the boxes and vms that run; what dead ones left behind is removed."""
    boxes = sorted(folder.name for folder in (cache() / "boxes").glob("*"))
    vms = sorted(folder.name for folder in (cache() / "vms").glob("*"))
    return [*(name for name in boxes if Box(name).attach()), *(name for name in vms if Vm(name).attach())]


if __name__ == "__main__":
    sys.exit(main())
