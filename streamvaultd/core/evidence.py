# SPDX-License-Identifier: GPL-3.0-or-later
"""What the witnesses of a segment's end told."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the end of one run; None is what nobody told.

    From the shim's exit record: `status` (an exit code, or minus the signal, as waitstatus_to_exitcode() gives it),
    `error` (why streamlink could not be executed), `oom_kills`, `memory_peak` and `memory_max` (bytes) of the scope's
    cgroup, `max_rss` (KiB), `cpu_usec`, and `log`, streamlink's last lines, oldest first.

    From others: `asked`, the cause to note because we asked it to end; `shim_status`, how the shim itself ended, where
    that can be known; `unit_result`, Result= of the scope (systemd.scope(5)), of which "success" proves nothing, for a
    scope that was unloaded answers so; `journal_oom` and `journal_oomd`, messages of systemd about exactly this unit;
    `kernel_oom`, the kernel's line about its cgroup; `host_down`: the machine was going down, or has been started
    since; `link_down`: this machine had no network; `disk`: "full" or "read-only".
    """

    status: int | None = None
    error: str | None = None
    oom_kills: int | None = None
    memory_peak: int | None = None
    memory_max: int | None = None
    max_rss: int | None = None
    cpu_usec: int | None = None
    asked: str | None = None
    shim_status: int | None = None
    unit_result: str | None = None
    journal_oom: bool | None = None
    journal_oomd: bool | None = None
    kernel_oom: str | None = None
    host_down: bool | None = None
    link_down: bool | None = None
    disk: str | None = None
    log: tuple[str, ...] = ()

    def merged(self, later: Evidence) -> Evidence:
        """Both together; what was known first stays, since the exit record is trusted more than what follows."""
        kept = {name: mine if (mine := getattr(self, name)) not in (None, ()) else getattr(later, name)
                for name in self.__dataclass_fields__}  # fmt: skip
        return replace(self, **kept)
