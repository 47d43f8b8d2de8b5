# SPDX-License-Identifier: GPL-3.0-or-later
"""What the witnesses of a segment's end told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about the end of one run; None is what nobody told.

    From the shim's exit record: `status` (an exit code, or minus the signal, as waitstatus_to_exitcode() gives it),
    `error` (why streamlink could not be executed), `oom_kills`, `memory_peak` and `memory_max` (bytes) of the scope's
    cgroup, `max_rss` (KiB), `cpu_usec`, and `log`, streamlink's last lines, oldest first.

    From others: `asked`, the cause to note because we asked it to end; `shim_status`, how the shim itself ended, where
    that can be known; `unit_result`, Result= of the scope (systemd.scope(5)), of which "success" proves nothing, for a
    scope that was unloaded answers so; `journal_oom` and `journal_oomd`, messages of systemd about exactly this unit;
    `unit_stopped`: systemd began to stop the scope because somebody asked it to, while no daemon ran;
    `kernel_oom`, the kernel's line about its cgroup; `host_down`: the machine was going down, or has been started
    since; `link_down`: this machine had no network; `disk`: "full" or "read-only"; `file`: "removed", "moved"
    or "cut", what somebody did to its file while it was written; `dated`: when its first media were broadcast by the
    source's own dates (microseconds since 1970), of which no cause is made.
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
    unit_stopped: bool | None = None
    kernel_oom: str | None = None
    host_down: bool | None = None
    link_down: bool | None = None
    disk: str | None = None
    file: str | None = None
    dated: int | None = None
    log: tuple[str, ...] = ()

    def merged(self, later: Evidence) -> Evidence:
        """Both together, whichever came first; of two that say something the first stays.

        The exit record is trusted most, so it comes first where both are known.
        """
        kept = {}
        for name in self.__dataclass_fields__:
            mine, theirs = getattr(self, name), getattr(later, name)
            kept[name] = mine if _tells(name, mine) or theirs in (None, ()) else theirs
        return replace(self, **kept)

    @property
    def was_oom(self) -> bool:
        """Whether a witness tells that the kernel killed a process of it for want of memory."""
        told = bool(self.oom_kills), self.unit_result == "oom-kill"
        return any(told) or bool(self.journal_oom) or self.kernel_oom is not None

    @property
    def of_the_run(self) -> Evidence:
        """Without what holds for the machine at one moment, and may have passed when the run ends."""
        return replace(self, asked=None, host_down=None, link_down=None, disk=None)


_DENIALS: Final = {
    "oom_kills": 0, "unit_result": "success", "journal_oom": False, "journal_oomd": False, "unit_stopped": False,
    "host_down": False, "link_down": False,
}  # fmt: skip
"""What proves nothing: a later witness may know more."""


def _tells(name: str, value: object) -> bool:
    return value not in (None, ()) and not (name in _DENIALS and value == _DENIALS[name])
