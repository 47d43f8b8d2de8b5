# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error a user can meet: one class = one Varlink error = one heading in docs/troubleshooting.md.

An error says what could not be done, why, and what to do about it. `name` is the Varlink error, its fields are the
Varlink parameters, `hint` is shown by streamvaultctl below the message. Exit codes of streamvaultctl are in
`exit_code` (0 done, 1 failed, 2 usage, 3 daemon not running, 4 no such thing).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


RECORDER = "io.streamvault.Recorder"
BROKER = "io.streamvault.Broker"
SERVICE = "org.varlink.service"


class VaultError(Exception):
    """Base of all errors that may reach a user; not raised itself.

    Fields are given by keyword, must be JSON-representable, and fill the braces of `what` and `hint`.
    """

    name: ClassVar[str] = ""
    what: ClassVar[str] = ""
    hint: ClassVar[str] = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, /, **fields: str | int | bool) -> None:
        if not self.name:
            raise TypeError(f"{type(self).__name__} is a base class")
        self.fields = fields
        super().__init__(self.what.format_map(fields))

    @property
    def advice(self) -> str:
        """What the user can do, or "" when there is nothing to say."""
        return self.hint.format_map(self.fields)


# --- org.varlink.service: the protocol itself (varlink.org, systemd's varlink-org.varlink.service.c) ---------------


class InterfaceNotFound(VaultError):
    name = f"{SERVICE}.InterfaceNotFound"
    what = "cannot call '{interface}': no such interface"
    exit_code = 4


class MethodNotFound(VaultError):
    name = f"{SERVICE}.MethodNotFound"
    what = "cannot call '{method}': no such method"
    exit_code = 4


class MethodNotImplemented(VaultError):
    name = f"{SERVICE}.MethodNotImplemented"
    what = "cannot call '{method}': not implemented"


class InvalidParameter(VaultError):
    name = f"{SERVICE}.InvalidParameter"
    what = "cannot use parameter '{parameter}'"
    exit_code = 2


class PermissionDenied(VaultError):
    name = f"{SERVICE}.PermissionDenied"
    what = "cannot do this: permission denied"
    hint = "be root, or a member of group _streamvault; the read-only socket is only for looking"


class ExpectedMore(VaultError):
    name = f"{SERVICE}.ExpectedMore"
    what = "cannot answer a single call: this method streams, call it with 'more'"


# --- io.streamvault.Recorder ---------------------------------------------------------------------------------------


class ConfigInvalid(VaultError):
    name = f"{RECORDER}.ConfigInvalid"
    what = "cannot load {file}: [{section}] {key} = {value}: {why}"
    hint = "see streamvaultd.toml(5) for what is allowed there"


class ConfigUnreadable(VaultError):
    name = f"{RECORDER}.ConfigUnreadable"
    what = "cannot read {file}: {why}"
    hint = "the file must be readable for the user _streamvault and hold valid TOML"


class NoSuchRecording(VaultError):
    name = f"{RECORDER}.NoSuchRecording"
    what = "cannot find a recording called '{recording}'"
    hint = "'streamvaultctl list --all' shows every recording by number and streamer"
    exit_code = 4


class NoSuchSegment(VaultError):
    name = f"{RECORDER}.NoSuchSegment"
    what = "cannot find segment {segment} of recording {recording}"
    hint = "'streamvaultctl segments {recording}' shows every segment by its number"
    exit_code = 4


class NoSuchStreamer(VaultError):
    name = f"{RECORDER}.NoSuchStreamer"
    what = "cannot find a streamer called '{streamer}'"
    hint = "'streamvaultctl streamers' lists the streamers that are watched"
    exit_code = 4


class StreamerExists(VaultError):
    name = f"{RECORDER}.StreamerExists"
    what = "cannot add '{streamer}': a streamer of this name is watched already"
    hint = "give another --name, or remove that one with 'streamvaultctl remove {streamer}'"


class StreamerReadOnly(VaultError):
    name = f"{RECORDER}.StreamerReadOnly"
    what = "cannot change '{streamer}': {file} is the administrator's"
    hint = "edit or remove that file, and 'systemctl reload streamvaultd'"


class NotificationFailed(VaultError):
    name = f"{RECORDER}.NotificationFailed"
    what = "cannot notify '{target}': {why}"
    hint = "see NOTIFICATIONS in streamvaultd.toml(5)"


class TooManyStreamers(VaultError):
    name = f"{RECORDER}.TooManyStreamers"
    what = "cannot watch another streamer: the limit is {limit}"
    hint = "remove some with 'streamvaultctl remove NAME'"


class NoSuchStream(VaultError):
    name = f"{RECORDER}.NoSuchStream"
    what = "cannot find stream {stream}"
    hint = "the method ListStreams has every stream by its number"
    exit_code = 4


class NoSuchSeam(VaultError):
    name = f"{RECORDER}.NoSuchSeam"
    what = "cannot find a seam of recording {recording} behind segment {older}"
    hint = "'streamvaultctl seams {recording}' shows every seam, once the recording is joined"
    exit_code = 4


class NoSuchJob(VaultError):
    name = f"{RECORDER}.NoSuchJob"
    what = "cannot find job {job}"
    hint = "'streamvaultctl jobs --all' shows every job by its number"
    exit_code = 4


class NoSuchEvent(VaultError):
    name = f"{RECORDER}.NoSuchEvent"
    what = "cannot find event {event}"
    hint = "'streamvaultctl events' shows the latest events"
    exit_code = 4


class NoSuchKind(VaultError):
    name = f"{RECORDER}.NoSuchKind"
    what = "cannot find events of kind '{kind}': there are {known}"
    hint = "'streamvaultctl events' without --kind shows all"
    exit_code = 2


class NothingToRetry(VaultError):
    name = f"{RECORDER}.NothingToRetry"
    what = "cannot try recording {recording} again: {why}"
    hint = "'streamvaultctl status {recording}' shows how it is; 'streamvaultctl record' makes a new recording"


class NothingToKeep(VaultError):
    name = f"{RECORDER}.NothingToKeep"
    what = "cannot mark recording {recording} to be kept: {why}"
    hint = "'streamvaultctl status {recording}' shows how it is"


class NothingToVerify(VaultError):
    name = f"{RECORDER}.NothingToVerify"
    what = "cannot verify recording {recording}, it has no joined file: {why}"
    hint = "'streamvaultctl status {recording}' shows how it is"


class VerifyFailed(VaultError):
    name = f"{RECORDER}.VerifyFailed"
    what = "cannot verify {path}: {why}"
    hint = "'streamvaultctl verify FILE' looks at a file without the daemon"


class PruneUnbounded(VaultError):
    name = f"{RECORDER}.PruneUnbounded"
    what = "cannot remove media: {why}"
    hint = "name a recording, or give an age such as --older-than 30d; --dry-run shows what would go"
    exit_code = 2


class NotRecording(VaultError):
    name = f"{RECORDER}.NotRecording"
    what = "cannot {verb} recording {recording}: it is {state}"
    hint = "it can be rotated while it is recording, and stopped until it has ended: see 'streamvaultctl status'"


class AlreadyRecording(VaultError):
    name = f"{RECORDER}.AlreadyRecording"
    what = "cannot record '{streamer}' twice: recording {recording} is running"
    hint = "stop it first with 'streamvaultctl stop {streamer}', or give another --name"


class InvalidName(VaultError):
    name = f"{RECORDER}.InvalidName"
    what = "cannot use '{value}' as a name: {why}"
    hint = "names are 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter, a digit or '_'"
    exit_code = 2


class InvalidUrl(VaultError):
    name = f"{RECORDER}.InvalidUrl"
    what = "cannot use '{value}' as a URL: {why}"
    hint = "give the address as a browser shows it, e.g. https://www.twitch.tv/NAME or https://host/live.m3u8"
    exit_code = 2


class InvalidQuality(VaultError):
    name = f"{RECORDER}.InvalidQuality"
    what = "cannot use '{value}' as a quality: {why}"
    hint = "give streamlink's names, best first, e.g. 1080p60,720p,best"
    exit_code = 2


class InvalidDuration(VaultError):
    name = f"{RECORDER}.InvalidDuration"
    what = "cannot use '{value}' as a duration: {why}"
    hint = "write it as systemd does, e.g. 90min, 2h 30min, 23h58m48s"
    exit_code = 2


class UnsupportedUrl(VaultError):
    name = f"{RECORDER}.UnsupportedUrl"
    what = "cannot record '{url}': streamlink has no plugin for it"
    hint = "'streamlink --plugins' lists the sites; a direct playlist can be given as hls://…"


class SourceUnavailable(VaultError):
    name = f"{RECORDER}.SourceUnavailable"
    what = "cannot record '{url}': {why}"
    hint = "is the stream live? 'streamlink --json URL' shows what the site answers"


class DirectoryUnusable(VaultError):
    name = f"{RECORDER}.DirectoryUnusable"
    what = "cannot write to {directory}: {why}"
    hint = "the folder must belong to _streamvault and be in ReadWritePaths= of streamvaultd.service"


class DiskFull(VaultError):
    name = f"{RECORDER}.DiskFull"
    what = "cannot record to {directory}: {why}"
    hint = (
        "make room there, or give another --directory; [disk] in streamvaultd.toml(5) says how much has to stay free"
    )


class MemoryFull(VaultError):
    name = f"{RECORDER}.MemoryFull"
    what = "cannot record '{streamer}': {why}"
    hint = "stop another recording, or give streamvault.slice more with 'systemctl edit streamvault.slice'"


class ScopeFailed(VaultError):
    name = f"{RECORDER}.ScopeFailed"
    what = "cannot start or stop scope '{unit}': {why}"
    hint = "'systemctl status streamvault-brokerd' and 'journalctl -u streamvault-brokerd' show the broker's side"


class StreamlinkUnusable(VaultError):
    name = f"{RECORDER}.StreamlinkUnusable"
    what = "cannot use streamlink at {command}: {why}"
    hint = "install the package streamlink, run 'streamvaultctl streamlink install', or set [streamlink] command"


class StreamlinkInstallFailed(VaultError):
    name = f"{RECORDER}.StreamlinkInstallFailed"
    what = "cannot install streamlink {version}: {why}"
    hint = "'journalctl -t streamvault-install' has pip's own output"


class StreamlinkInstallRefused(VaultError):
    name = f"{RECORDER}.StreamlinkInstallRefused"
    what = "cannot install streamlink for user {uid}: by [streamlink] install only root may"
    hint = 'call it as root, or let the group with install = "group" in streamvaultd.toml(5), and reload'


class StoreUnavailable(VaultError):
    name = f"{RECORDER}.StoreUnavailable"
    what = "cannot use the store {url}: {why}"
    hint = "check that its folder exists, is writable for _streamvault and has free space"


class StoreTooNew(VaultError):
    name = f"{RECORDER}.StoreTooNew"
    what = "cannot open the store {url}: it has schema {found}, this program knows up to {known}"
    hint = "a newer streamvaultd wrote it: install that version again; nothing was changed"


class StoreInUse(VaultError):
    name = f"{RECORDER}.StoreInUse"
    what = "cannot change the store {url}: a streamvaultd, or another copy, is using it"
    hint = "'systemctl stop streamvaultd.socket streamvaultd.service' first; recordings run on, and are adopted again"


class DumpInvalid(VaultError):
    name = f"{RECORDER}.DumpInvalid"
    what = "cannot use {file} as a dump: {why}"
    hint = "nothing was changed; take another copy of the file, or export again"


class TransferConflict(VaultError):
    name = f"{RECORDER}.TransferConflict"
    what = "cannot copy into {url}: {why}"
    hint = "nothing was changed there; give an empty database, or move that one away"


class RecordingUnreadable(VaultError):
    name = f"{RECORDER}.RecordingUnreadable"
    what = "cannot read recording {recording} in the store: {why}"
    hint = "correct that value with sqlite3, or restore the store from a copy, and restart streamvaultd"


class JoinFailed(VaultError):
    name = f"{RECORDER}.JoinFailed"
    what = "cannot join recording {recording}: {why}"
    hint = "its segments are kept"


class AuditFailed(VaultError):
    name = f"{RECORDER}.AuditFailed"
    what = "cannot check everything: {why}"
    hint = "recordings go on; check again, and if it stays so, look at the system bus and the recording directories"


class InternalError(VaultError):
    name = f"{RECORDER}.InternalError"
    what = "cannot answer {method}: {why}"
    hint = (
        "this is a mistake of streamvaultd, or a row that another hand wrote; 'journalctl -u streamvaultd' says where"
    )


class SubscriberTooSlow(VaultError):
    name = f"{RECORDER}.SubscriberTooSlow"
    what = "cannot keep this subscription: the client read too slowly, {backlog} events were waiting"
    hint = "subscribe again: the first answer gives the present state"


class TooManyConnections(VaultError):
    name = f"{RECORDER}.TooManyConnections"
    what = "cannot accept another connection: the limit is {limit}"
    hint = "close connections that are not used"


class MessageTooLarge(VaultError):
    name = f"{RECORDER}.MessageTooLarge"
    what = "cannot accept a message of more than {limit} bytes"


class DaemonNotRunning(VaultError):
    name = f"{RECORDER}.DaemonNotRunning"
    what = "cannot reach streamvaultd at {address}: {why}"
    hint = "start it with 'systemctl start streamvaultd'"
    exit_code = 3

    @property
    def advice(self) -> str:
        if self.fields.get("why") != "permission denied":
            return self.hint
        return (
            "only root and members of group _streamvault may connect: 'sudo adduser $USER _streamvault', "
            "then log in again; or use sudo"
        )


class ConnectionLost(VaultError):
    name = f"{RECORDER}.ConnectionLost"
    what = "cannot read the answer of {address}: {why}"
    hint = "the daemon may be restarting: try again; 'journalctl -u streamvaultd' shows why"
    exit_code = 3


# --- io.streamvault.Broker -----------------------------------------------------------------------------------------


class PeerRefused(VaultError):
    name = f"{BROKER}.PeerRefused"
    what = "cannot serve uid {uid}: only the user of streamvaultd may call the broker, and not from a scope"


class NameRefused(VaultError):
    name = f"{BROKER}.NameRefused"
    what = "cannot use unit name '{value}': {why}"


class ProcessRefused(VaultError):
    name = f"{BROKER}.ProcessRefused"
    what = "cannot move process {pid} into a scope: {why}"


class LimitRefused(VaultError):
    name = f"{BROKER}.LimitRefused"
    what = "cannot set {limit} to {value}: {why}"


class UnitExists(VaultError):
    name = f"{BROKER}.UnitExists"
    what = "cannot start '{unit}': a unit of this name is loaded already"


class NoSuchUnit(VaultError):
    name = f"{BROKER}.NoSuchUnit"
    what = "cannot find unit '{unit}'"
    exit_code = 4


class JobFailed(VaultError):
    name = f"{BROKER}.JobFailed"
    what = "cannot {verb} '{unit}': systemd's job ended with '{result}'"


class SystemdError(VaultError):
    name = f"{BROKER}.SystemdError"
    what = "cannot {verb} '{unit}': systemd answered {error}: {why}"


def _leaves(cls: type[VaultError]) -> list[type[VaultError]]:
    found = [cls] if cls.name else []
    for child in cls.__subclasses__():
        found += _leaves(child)
    return found


BY_NAME: dict[str, type[VaultError]] = {cls.name: cls for cls in _leaves(VaultError)}


class RemoteError(VaultError):
    """An error of a peer that this version does not know; keeps its name and parameters."""

    name = f"{RECORDER}.RemoteError"
    what = "cannot do this: the peer answered {error} {parameters}"


def from_wire(name: str, parameters: dict[str, str | int | bool]) -> VaultError:
    """Turn a Varlink error reply into the exception it was raised as.

    An unknown name or missing fields give a RemoteError that shows both.
    """
    cls = BY_NAME.get(name)
    if cls is not None:
        try:
            return cls(**parameters)
        except KeyError:
            pass
    return RemoteError(error=name, parameters=str(parameters))
