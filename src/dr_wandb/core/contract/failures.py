"""What can go wrong, as values.

Rules
- A failure says what failed, where, and what to do, in one or two lines (`describe`).
- Each kind has one exit code; the table is `EXIT_CODES` and `docs/errors.md` repeats it.
- A failure of one run (`FailedRun`) never ends a sync; every other one does.
"""

from typing import Any

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
        return f"{self.path} belongs to {self.found}, not {self.wanted}; use another --name"


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
    """A file of the export does not read. `line` counts from 1; None where it is the whole file."""

    path: str
    reason: str
    remedy: str
    line: int | None = None

    def describe(self) -> str:
        subject = self.path if self.line is None else f"{self.path} line {self.line}"
        return f"{subject} does not read: {self.reason}\n{self.remedy}"


class NoProject(Failure, tag="no_project", frozen=True, kw_only=True):
    """W&B answers alike for a project that is not there and one that may not be seen."""

    entity: str
    project: str

    def describe(self) -> str:
        return (
            f"no project {self.project} in {self.entity}, or no access to it\n"
            "check both names, and that the API key belongs to a member of the entity"
        )


class AccessRefused(Failure, tag="access_refused", frozen=True, kw_only=True):
    """W&B is there, and the project may be; its runs are not listed for the key in use."""

    entity: str
    project: str
    detail: str

    def describe(self) -> str:
        return f"{self.entity}/{self.project} is not listed: {self.detail}\n{ASK_FOR_ACCESS}"


class NoApiKey(Failure, tag="no_api_key", frozen=True, kw_only=True):
    """Nothing to identify with."""

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
    """No answer, or none that can be used, however often it was asked.

    `answered`: the host is there, so that the network is not the trouble.
    """

    host: str
    detail: str = ""
    answered: bool = False

    def describe(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        if self.answered:
            return (
                f"{self.host} gives no usable answer{detail}\n"
                "try again later; what was already fetched is kept for next time"
            )
        return (
            f"cannot reach {self.host}{detail}\n"
            "check the network and WANDB_BASE_URL; what was already fetched is kept for next time"
        )


class ServerTooOld(Failure, tag="server_too_old", frozen=True, kw_only=True):
    """The server does not know fields of a run without which no export can be made."""

    host: str
    fields: tuple[str, ...]

    def describe(self) -> str:
        return (
            f"{self.host} does not know {', '.join(self.fields)} of a run, which an export needs\n"
            "use a newer W&B server, or an earlier version of this tool"
        )


class NoExport(Failure, tag="no_export", frozen=True, kw_only=True):
    """There is no export of that name."""

    path: str

    def describe(self) -> str:
        return f"{self.path} does not exist; run `wandb-export ENTITY PROJECT --name NAME` first"


class NotRecorded(Failure, tag="not_recorded", frozen=True, kw_only=True):
    """A recording was asked for something that was not asked when it was made."""

    path: str
    question: str

    def describe(self) -> str:
        return (
            f"the recording {self.path} does not hold {self.question}\n"
            "record a sync that asks for it: --sync-mode full_reconcile into a new --name, "
            "in the same --mode"
        )


class Locked(Failure, tag="locked", frozen=True, kw_only=True):
    """Another sync is at work on this export."""

    path: str
    holder: str

    def describe(self) -> str:
        return f"{self.path} is in use by {self.holder}; wait for it to end, or use another --name"


class RunsVanished(Failure, tag="runs_vanished", frozen=True, kw_only=True):
    """Most runs of the export are missing in the listing: more likely a fault than a clean-up."""

    name: str
    vanished: int
    known: int

    def describe(self) -> str:
        return (
            f"{self.vanished} of the {self.known} runs of {self.name} are no longer listed; "
            "nothing was changed\n"
            "if they were deleted on purpose, sync once with --allow-empty: they are kept, marked"
        )


class DiskRefused(Failure, tag="disk_refused", frozen=True, kw_only=True):
    """The disk or its permissions refuse."""

    path: str
    reason: str

    def describe(self) -> str:
        return (
            f"cannot use {self.path}: {self.reason}\n"
            "the export is as it was before; sync again when that is mended"
        )


class Unfinished(Failure, tag="unfinished", frozen=True, kw_only=True):
    """The disk refused while the new files of a decided commit were put in subject."""

    path: str
    reason: str

    def describe(self) -> str:
        return (
            f"cannot use {self.path}: {self.reason}\n"
            "the new files are all there and wait beside it; sync again when that is mended, and "
            "they are put in subject first"
        )


class InTheWay(Failure, tag="in_the_way", frozen=True, kw_only=True):
    """Something else has a name that the export needs."""

    path: str
    found: str
    wanted: str

    def describe(self) -> str:
        return (
            f"{self.path} is {self.found}, where {self.wanted} is needed\n"
            "move it away and sync again, or use another --data-root or --name"
        )


class MixedRuns(Failure, tag="mixed_runs", frozen=True, kw_only=True):
    """Files of several projects have a run with the same id."""

    run_id: str
    projects: tuple[str, ...]

    def describe(self) -> str:
        return (
            f"there is a run {self.run_id!r} in each of: {', '.join(self.projects)}\n"
            "export the projects one by one, without --any-project"
        )


class LeadsOutside(Failure, tag="leads_outside", frozen=True, kw_only=True):
    """The folder of the export is a link out of its data root."""

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
    Locked: 7,
    NotRecorded: 8,
    DiskRefused: 9,
    Unfinished: 9,
    InTheWay: 9,
    MixedRuns: EXIT_USAGE,
    LeadsOutside: EXIT_USAGE,
    RunsVanished: 10,
}


class DrWandbError(Exception):
    """The sync, or a load, as a whole could not be done. `failure` says why.

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
