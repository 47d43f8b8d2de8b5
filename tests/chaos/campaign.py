# SPDX-License-Identifier: GPL-3.0-or-later
"""A campaign: recordings under a schedule of faults, to their end, and the account of it."""

from __future__ import annotations

import heapq
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.chaos import catalogue
from tests.chaos.account import Account, draw_up
from tests.chaos.facts import CatalogueFacts, Facts, Leaks, quickened, quickened_strikes
from tests.chaos.faults import SMALL_DISK, Faults, Strike, Target
from tests.chaos.gather import RECORDINGS, facts_of, leaks_of, query
from tests.chaos.schedule import WINDOW, Fault, Schedule
from tests.fakes.livesource import LiveSource
from tests.fakes.media import MediaSpec
from tests.integration.harness import CONFIG, Ctl
from tests.testbed.machine import WaitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.testbed.machine import Machine

SETTINGS: Final = """
[recording]
grace = "{grace}s"
outage = "{outage}s"
start_timeout = "{start}s"
stall_timeout = "{stall}s"

[disk]
reserve = "10s"
floor = "4M"
"""
START_TIMEOUT: Final = 20
WATCHDOG: Final = "[Service]\nWatchdogSec={}\n"
WATCHDOG_SECONDS: Final = 8
WATCHDOG_FILE: Final = "/etc/systemd/system/streamvaultd.service.d/chaos.conf"
START_LIMIT: Final = 60.0
AGAIN: Final = 0.4
"""Seconds until a fault that found nothing to strike is tried again …"""
TRIES_SPAN: Final = 8.0
"""… and for how long."""
JOIN_LIMIT: Final = 120.0
LEAK_LIMIT: Final = 20.0
FINAL: Final = ("completed", "stopped", "failed")


@dataclass(slots=True)
class Result:
    """What came of a campaign."""

    schedule: Schedule
    began: float
    strikes: list[Strike]
    missed: list[Fault]
    facts: list[Facts]
    accounts: list[Account]
    leaks: Leaks
    catalogue: CatalogueFacts | None = None
    """None: the daemon had none"""


@dataclass(slots=True)
class Campaign:
    """One campaign on a machine that runs already, has the package installed and a small disk mounted."""

    machine: Machine
    source: LiveSource
    schedule: Schedule
    folder: Path
    say: Callable[[str], None] = print
    missed: list[Fault] = field(default_factory=list)
    began: float = 0.0

    def run(self) -> Result:
        """Everything, from the settings to the account."""
        self._configure()
        targets = self._start()
        faults = Faults(self.machine, self.source, targets)
        self.began = time.monotonic()
        self._strike([fault for fault in self.schedule.faults if fault.at < self.schedule.length], faults)
        self._wait_until(self.schedule.length)
        self.say(f"{self.schedule.length:7.2f}  the broadcasts end")
        for target in targets:
            self.source.control(target.name, fault=None)
            self.source.control(target.name, end=True)
        self._strike([fault for fault in self.schedule.faults if fault.at >= self.schedule.length], faults)
        self._wait_final()
        return self._account(targets, faults)

    def _configure(self) -> None:
        if self.schedule.postgresql:
            catalogue.prepare(self.machine)
        self.machine.write_file(CONFIG, self._settings())
        self.machine.write_file(WATCHDOG_FILE, WATCHDOG.format(round(WATCHDOG_SECONDS * self.schedule.slowness)))
        self.machine.run(["systemctl", "daemon-reload"])
        self.machine.run(["systemctl", "restart", "streamvaultd"])

    def _settings(self) -> str:
        schedule = self.schedule
        start = round(START_TIMEOUT * schedule.slowness)
        settings = SETTINGS.format(
            grace=schedule.grace, outage=2 * schedule.grace, stall=schedule.stall_timeout, start=start
        )
        return settings + (catalogue.SETTINGS if schedule.postgresql else "")

    def _start(self) -> tuple[Target, ...]:
        """Begin all recordings, and wait until all have media."""
        ctl = Ctl(self.machine)
        targets = []
        for number in range(self.schedule.recordings):
            name, folder = f"channel-{number}", RECORDINGS if number + 1 < self.schedule.recordings else SMALL_DISK
            url = self.machine.reach(self.source.url(name))
            ctl("record", url, "--name", name, "--directory", folder, "--no-block")
            targets.append(Target(name, ctl.recording(name)["id"]))

        def all_record() -> bool:
            return all(ctl.state(target.name) == "recording" for target in targets)

        self.machine.wait_for(all_record, "everything records", timeout=START_LIMIT * self.schedule.slowness)
        return tuple(targets)

    # --- faults ----------------------------------------------------------------------------------------------------

    def _wait_until(self, at: float) -> None:
        self.machine.pause(max(0.0, self.began + at - time.monotonic()))

    def _strike(self, planned: list[Fault], faults: Faults) -> None:
        """Do what is planned, each at its time, and undo what is to be undone."""
        agenda: list[tuple[float, int, Fault]] = [(fault.at, number, fault) for number, fault in enumerate(planned)]
        heapq.heapify(agenda)
        while agenda or faults.undo:
            undo = min((at for at, _ in faults.undo), default=None)
            if undo is not None and (not agenda or undo - self.began <= agenda[0][0]):
                self._undo(faults)
                continue
            at, number, fault = heapq.heappop(agenda)
            self._wait_until(at)
            if faults.do(fault):
                self.say(f"{time.monotonic() - self.began:7.2f}  {describe(faults.strikes[-1])}")
            elif at - fault.at < TRIES_SPAN * self.schedule.slowness:
                heapq.heappush(agenda, (at + AGAIN * self.schedule.slowness, number, fault))
            else:
                self.missed.append(fault)
                self.say(f"{time.monotonic() - self.began:7.2f}  missed: {fault.kind}, nothing was there to strike")

    def _undo(self, faults: Faults) -> None:
        first = min(faults.undo, key=lambda item: item[0])
        faults.undo.remove(first)
        self._wait_until(first[0] - self.began)
        first[1]()

    # --- the end ---------------------------------------------------------------------------------------------------

    def _wait_final(self) -> None:
        """Until all recordings are final; one that never will be shows in the account."""
        sql = f"SELECT state FROM recordings WHERE state NOT IN {FINAL}"  # noqa: S608

        def is_final() -> bool:
            return not query(self.machine, sql)

        try:
            self.machine.wait_for(is_final, "all is final", timeout=self._final_limit())
        except WaitError as error:
            self.say(str(error))

    def _final_limit(self) -> float:
        return 2 * self.schedule.grace + (WINDOW + JOIN_LIMIT) * self.schedule.slowness

    def _account(self, targets: tuple[Target, ...], faults: Faults) -> Result:
        strikes = tuple(faults.strikes)
        daemon = tuple(strike for strike in strikes if strike.recording is None)
        facts = [
            facts_of(
                self.machine,
                target,
                self.source.channels[target.name],
                tuple(strike for strike in strikes if strike.recording == number),
                self.folder,
                self.began,
            )
            for number, target in enumerate(targets)
        ]
        slowness = self.schedule.slowness
        surroundings = quickened_strikes(daemon, self.began, slowness)
        accounts = [draw_up(quickened(known, slowness), surroundings) for known in facts]
        leaks = self._leaks(strikes)
        fed = catalogue.catalogue_of(self.machine, slowness, self.say) if self.schedule.postgresql else None
        return Result(self.schedule, self.began, list(strikes), self.missed, facts, accounts, leaks, fed)

    def _leaks(self, strikes: tuple[Strike, ...]) -> Leaks:
        """What is left when everything had the time to go."""
        found = Leaks()

        def is_nothing() -> bool:
            nonlocal found
            found = leaks_of(self.machine, strikes)
            return found == Leaks()

        try:
            self.machine.wait_for(is_nothing, "nothing is left", timeout=LEAK_LIMIT * self.schedule.slowness)
        except WaitError as error:
            self.say(str(error))
        return found


def describe(strike: Strike) -> str:
    """One strike, for people."""
    whom = "" if strike.recording is None else f" of recording {strike.recording}"
    segment = "" if strike.segment is None else f", segment {strike.segment:03d}"
    on = f" ({strike.on})" if strike.kind.startswith("source-") else ""
    lasts = f" for {strike.until - strike.before:.1f} s" if strike.until > strike.after else ""
    return f"{strike.kind}{on}{whom}{segment}{lasts}"


def media_for(schedule: Schedule) -> MediaSpec:
    """Media that last longer than the campaign."""
    minutes = int(schedule.minutes + 5 * schedule.slowness)
    return MediaSpec(seconds=max(600, -(-minutes // 10) * 600))


def as_json(result: Result) -> dict[str, Any]:
    """Everything about a campaign, for other programs."""
    return {
        "seed": result.schedule.seed,
        "minutes": result.schedule.minutes,
        "recordings": [asdict(account) for account in result.accounts],
        "segments": {facts.name: [asdict(row) for row in facts.rows] for facts in result.facts},
        "began": result.began,
        "leaks": asdict(result.leaks),
        "catalogue": None if result.catalogue is None else asdict(result.catalogue),
        "strikes": [asdict(strike) for strike in result.strikes],
        "missed": [asdict(fault) for fault in result.missed],
    }
