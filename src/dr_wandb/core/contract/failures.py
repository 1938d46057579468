"""What can go wrong, as values.

Rules
- A failure says what failed, for which path or host, and what to do, in one or two lines
  (`describe`).
- Each kind has one exit code; the table is `EXIT_CODES` and `docs/errors.md` repeats it.
- A failure of one run (`FailedRun`) never ends a sync; every other one does.
"""

from typing import Any

from dr_wandb.core.contract.amounts import kept_in_words, size_in_words
from dr_wandb.core.contract.records import Record

ASK_FOR_ACCESS = "ask the owner of the project for access, or see what its plan allows"


class Failure(Record, tag_field="kind", frozen=True, kw_only=True):
    """Base of the failures that end a sync."""

    def describe(self) -> str:
        """Return one or two lines for the person who ran the command."""
        raise TypeError(f"{type(self).__name__} does not describe itself")


class InvalidRequest(Failure, tag="invalid_request", frozen=True, kw_only=True):
    """The request contradicts itself or holds a bad value."""

    problems: tuple[str, ...]

    def describe(self) -> str:
        return "\n".join(self.problems)


class WrongExport(Failure, tag="wrong_export", frozen=True, kw_only=True):
    """The folder holds an export of something else."""

    path: str
    found: str
    wanted: str

    def describe(self) -> str:
        return (
            f"{self.path} belongs to {self.found}, not {self.wanted}; use another --name\n"
            f"if the project was renamed or moved, sync once with --moved-from {self.found}"
        )


class OtherHost(Failure, tag="other_host", frozen=True, kw_only=True):
    """The runs of the export came from another W&B server."""

    name: str
    found: str
    wanted: str

    def describe(self) -> str:
        return (
            f"{self.name} was exported from {self.found}, not from {self.wanted}: check "
            "WANDB_BASE_URL, or use another --name\n"
            "if the server has a new address, sync once with --host-moved"
        )


class NewerSchema(Failure, tag="newer_schema", frozen=True, kw_only=True):
    """A later version wrote this export."""

    path: str
    found: int
    known: int

    def describe(self) -> str:
        return (
            f"{self.path} has schema_version {self.found}, this version reads up to {self.known}\n"
            "install a newer version of this tool to continue the export"
        )


class DamagedFile(Failure, tag="damaged_file", frozen=True, kw_only=True):
    """A file of the export cannot be read. `line` counts from 1; None for the whole file."""

    path: str
    reason: str
    remedy: str
    line: int | None = None

    def describe(self) -> str:
        subject = self.path if self.line is None else f"{self.path} line {self.line}"
        return f"{subject} cannot be read: {self.reason}\n{self.remedy}"


class NoProject(Failure, tag="no_project", frozen=True, kw_only=True):
    """The project does not exist or may not be seen: W&B gives the same answer for both."""

    entity: str
    project: str

    def describe(self) -> str:
        return (
            f"no project {self.project} in {self.entity}, or no access to it\n"
            "check both names, and that the API key belongs to a member of the entity"
        )


class AccessRefused(Failure, tag="access_refused", frozen=True, kw_only=True):
    """W&B answers, but does not list the runs of the project for the key in use."""

    entity: str
    project: str
    detail: str

    def describe(self) -> str:
        return f"cannot list {self.entity}/{self.project}: {self.detail}\n{ASK_FOR_ACCESS}"


class NoApiKey(Failure, tag="no_api_key", frozen=True, kw_only=True):
    """There is no API key to identify with."""

    host: str

    def describe(self) -> str:
        return f"no API key: run `wandb login` or set WANDB_API_KEY (for {self.host})"


class BadEnvironment(Failure, tag="bad_environment", frozen=True, kw_only=True):
    """Variables that W&B's SDK refuses, so that it does not even start."""

    problems: tuple[str, ...]

    def describe(self) -> str:
        return f"the environment: {'; '.join(self.problems)}\nset it right, or unset the variable"


class KeyRefused(Failure, tag="key_refused", frozen=True, kw_only=True):
    """The key is malformed, unknown, or revoked."""

    host: str
    detail: str = ""

    def describe(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return (
            f"the key was refused by {self.host}{detail}\n"
            "run `wandb login --relogin` or set WANDB_API_KEY to a valid key"
        )


class Unreachable(Failure, tag="unreachable", frozen=True, kw_only=True):
    """No answer, or no usable one, after all attempts.

    `answered`: the host did answer, so the network is not the problem.
    """

    host: str
    detail: str = ""
    answered: bool = False

    def describe(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        if self.answered:
            return (
                f"{self.host} gives no usable answer{detail}\n"
                "try again later; fetched data is kept for the next sync"
            )
        return (
            f"cannot reach {self.host}{detail}\n"
            "check the network and WANDB_BASE_URL; fetched data is kept for the next sync"
        )


class ServerTooOld(Failure, tag="server_too_old", frozen=True, kw_only=True):
    """The server does not have fields of a run without which no export can be made."""

    host: str
    fields: tuple[str, ...]

    def describe(self) -> str:
        return (
            f"{self.host} does not have the run fields an export needs: {', '.join(self.fields)}\n"
            "use a newer W&B server, or an earlier version of this tool"
        )


class NoExport(Failure, tag="no_export", frozen=True, kw_only=True):
    """There is no export of that name."""

    path: str

    def describe(self) -> str:
        return f"{self.path} does not exist; run `wandb-export ENTITY PROJECT --name NAME` first"


class NoSyncYet(Failure, tag="no_sync_yet", frozen=True, kw_only=True):
    """No sync of this export has completed yet: its first one is at work, or was interrupted.

    `parts` of runs were fetched so far, in files of `bytes` bytes. `holder` is the process at work,
    None if there is none. `commit`: all is fetched, and the next sync puts it in place. `project`
    is ENTITY/PROJECT, "" if it is not known.
    """

    path: str
    name: str
    project: str = ""
    holder: str | None = None
    commit: bool = False
    parts: int = 0
    bytes: int = 0

    def describe(self) -> str:
        first = f"{self.path}: the first sync{f' of {self.project}' if self.project else ''}"
        fetched = kept_in_words(self.parts, self.bytes)
        if self.holder is not None:
            return (
                f"{first} is at work ({self.holder}), so there is nothing to read yet; "
                f"fetched so far: {fetched}\nwait for it to end"
            )
        if self.commit:
            kept = "its new files are saved, and the next sync puts them in place"
        else:
            kept = f"kept for the next one: {fetched}"
        return (
            f"{first} was interrupted, so there is nothing to read yet; {kept}\n"
            "run the command of that sync again to go on"
        )


class NotRecorded(Failure, tag="not_recorded", frozen=True, kw_only=True):
    """A recording was asked for something that was not requested when it was made."""

    path: str
    question: str

    def describe(self) -> str:
        return (
            f"the recording {self.path} does not hold {self.question}\n"
            "record a sync that asks for it: --sync-mode full_reconcile into a new --name, "
            "in the same --mode"
        )


class Locked(Failure, tag="locked", frozen=True, kw_only=True):
    """Another process is at work in this folder. `instead`: what to give to use another one."""

    path: str
    holder: str
    instead: str = "--name"

    def describe(self) -> str:
        return (
            f"{self.path} is in use by {self.holder}; wait for it to end, "
            f"or use another {self.instead}"
        )


class RunsVanished(Failure, tag="runs_vanished", frozen=True, kw_only=True):
    """Most runs of the export are missing from the listing: probably a fault, not a clean-up."""

    name: str
    vanished: int
    known: int

    def describe(self) -> str:
        return (
            f"{self.vanished:,} of the {self.known:,} runs of {self.name} are no longer listed; "
            "nothing was changed\n"
            "if they were deleted on purpose, sync once with --allow-empty: they are kept and "
            "marked as missing"
        )


class SelectionNarrower(Failure, tag="selection_narrower", frozen=True, kw_only=True):
    """The selection admits less than that of the held rows, some of which would be dropped.

    `rows_removed`: how many rows would be dropped or lose values.
    """

    name: str
    rows_removed: int
    before: str
    now: str

    def describe(self) -> str:
        return (
            f"stored rows of {self.name} would be dropped or lose values ({self.rows_removed:,} of "
            f"them), as this selection ({self.now}) is narrower than the earlier one "
            f"({self.before}); nothing was changed\n"
            "to keep them, give the earlier selection again or use another --name; to drop them, "
            "sync once with --allow-narrower"
        )


class DiskRefused(Failure, tag="disk_refused", frozen=True, kw_only=True):
    """The disk, or a permission on it, refused an operation.

    Of a full disk: `free_bytes` were free, and `needed_bytes` are needed to go on, each None if it
    is not known. The latter is about so if rows were still to be fetched (`estimated`). `parts` of
    runs were fetched so far, into files of `part_bytes` bytes, which stay. `again`: what to do once
    the disk is fixed.
    """

    path: str
    reason: str
    again: str = "sync"
    needed_bytes: int | None = None
    free_bytes: int | None = None
    estimated: bool = False
    parts: int = 0
    part_bytes: int = 0

    def describe(self) -> str:
        kept = ""
        if self.parts:
            kept = f", kept for the next sync: {kept_in_words(self.parts, self.part_bytes)}"
        return (
            f"cannot use {self.path}: {self.reason}{self._space()}\n"
            f"the export is unchanged{kept}; fix this and {self.again} again"
        )

    def _space(self) -> str:
        """Say how much space is needed and how much is free, as far as that is known."""
        needed, free = self.needed_bytes, self.free_bytes
        about = "about " if self.estimated else ""
        parts = []
        if needed is not None:
            parts.append(f"{about}{size_in_words(needed)} needed")
        if free is not None:
            parts.append(f"{size_in_words(free)} free")
        if needed is not None and free is not None and needed > free:
            parts.append(f"so {about}{size_in_words(needed - free)} more must be freed")
        return f"; {', '.join(parts)}" if parts else ""


class Unfinished(Failure, tag="unfinished", frozen=True, kw_only=True):
    """The disk refused an operation while the new files of a decided commit were renamed."""

    path: str
    reason: str

    def describe(self) -> str:
        return (
            f"cannot use {self.path}: {self.reason}\n"
            "the new files are saved; fix this and sync again to finish the commit"
        )


class InTheWay(Failure, tag="in_the_way", frozen=True, kw_only=True):
    """Something else has a name that the export needs."""

    path: str
    found: str
    wanted: str

    def describe(self) -> str:
        return (
            f"{self.path} is {self.found}, but {self.wanted} is needed\n"
            "move it away and sync again, or use another --data-root or --name"
        )


class MixedRuns(Failure, tag="mixed_runs", frozen=True, kw_only=True):
    """Files of several projects have a run with the same id."""

    run_id: str
    projects: tuple[str, ...]

    def describe(self) -> str:
        return (
            f"several projects have a run {self.run_id!r}: {', '.join(self.projects)}\n"
            "export the projects one by one, without --any-project"
        )


class LeadsOutside(Failure, tag="leads_outside", frozen=True, kw_only=True):
    """The folder of the export is a link to a folder outside of its data root."""

    path: str
    target: str

    def describe(self) -> str:
        parent, _, name = self.target.rpartition("/")
        return (
            f"{self.path} is a link to {self.target}, outside the data root\n"
            f"give --data-root the real folder: --data-root {parent or '/'} --name {name}"
        )


EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_DAMAGED = 6
EXIT_UNREADY = 11
EXIT_INTERRUPTED = 130

EXIT_CODES: dict[type[Failure], int] = {
    InvalidRequest: EXIT_USAGE,
    WrongExport: EXIT_USAGE,
    OtherHost: EXIT_USAGE,
    NoProject: 4,
    AccessRefused: 4,
    BadEnvironment: EXIT_USAGE,
    NoApiKey: 4,
    KeyRefused: 4,
    Unreachable: 5,
    ServerTooOld: 5,
    DamagedFile: EXIT_DAMAGED,
    NewerSchema: EXIT_DAMAGED,
    NoExport: EXIT_DAMAGED,
    NoSyncYet: EXIT_DAMAGED,
    Locked: 7,
    NotRecorded: 8,
    DiskRefused: 9,
    Unfinished: 9,
    InTheWay: 9,
    MixedRuns: EXIT_USAGE,
    LeadsOutside: EXIT_USAGE,
    RunsVanished: 10,
    SelectionNarrower: 10,
}


class DrWandbError(Exception):
    """A sync or a load failed as a whole. `failure` says why.

    The root of all exceptions that this library raises for anything but a bug.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.describe())

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command for this failure."""
        return EXIT_CODES[type(self.failure)]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.failure,))
