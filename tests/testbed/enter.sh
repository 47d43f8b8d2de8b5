#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Becomes the first process of a testbed root: mounts it, enters it, and execs what is to run there.
#
# Called by layers.py and box.py as PID 1 of fresh mount, PID, UTS and IPC namespaces. All mounts are made here,
# in the private mount namespace, so that they are gone with the last process and the host never sees one.
#   ROOT   empty folder to mount on        LOWER  overlay lower layers, topmost first, joined by ':'
#   UPPER, WORK  overlay upper and work    NAME   host name
#   BIND   optional "host folder:folder in the root" to show inside
#   CGROUP optional cgroup to join, and to make the root of what is seen inside
#   arguments: what to exec, with the environment that it gets (env -i VAR=… command)
set -eu

if [ -n "${CGROUP:-}" ]; then
    # Only this process goes there. Its parent, unshare, stays outside: systemd could not pass controllers on from a
    # cgroup that has processes of its own ("no internal processes", cgroups(7)).
    echo 0 > "$CGROUP/cgroup.procs"
    unset CGROUP
    exec unshare --cgroup sh "$0" "$@"
fi

mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$ROOT"
cd "$ROOT"

mount -t proc -o nosuid,nodev,noexec proc proc
# Kernel settings and sysrq belong to the host: systemd-sysctl must not reach them.
for path in proc/sys proc/sysrq-trigger; do
    [ -e "$path" ] || continue
    mount --bind "$path" "$path"
    mount -o remount,bind,ro "$path"
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
# A new cgroup namespace makes the cgroup that we are in the root of this mount.
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
# Each boot has an identity, which here is not the kernel's.
(umask 222 && cat proc/sys/kernel/random/uuid > run/boot_id)
mount --bind run/boot_id proc/sys/kernel/random/boot_id
rm run/boot_id

mount -t tmpfs -o nosuid,mode=755 tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr

if [ -n "${BIND:-}" ]; then
    mkdir -p ".${BIND#*:}"
    mount --bind "${BIND%%:*}" ".${BIND#*:}"
fi

hostname "$NAME"
# Stacks the new root above the old one and drops the old one: pivot_root(8), "pivot_root . ."
pivot_root . .
umount -l .
cd /
# The kernel is the host's: no modules, no clock, no raw I/O from in here.
exec setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time "$@"
