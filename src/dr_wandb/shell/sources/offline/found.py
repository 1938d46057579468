"""The files and runs found below a folder."""

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.lost_bytes import LostBytes
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.core.offline.run import NOBODY, RunFold, state_of
from dr_wandb.core.offline.scan_report import FileNotice, RunOnDisk
from dr_wandb.shell.sources.offline.forms import RunFile
from dr_wandb.shell.sources.offline.index import Known
from dr_wandb.shell.store.rows_file import WrittenRows


class FoundFile(Record, frozen=True, kw_only=True):
    """A file that was read, and its record of the run's name, None if that is lost.

    rows: all rows of the file as lines, if they were written when it was read.
    """

    file: RunFile
    named: RunRecord | None
    reading: FileReading
    rows: WrittenRows | None = None


class FoundRun(Record, frozen=True, kw_only=True):
    """A run and its files, in order."""

    run_id: str
    files: tuple[FoundFile, ...]

    @property
    def fold(self) -> RunFold:
        """Return the folded content of the files."""
        return self.files[-1].reading.fold

    @property
    def mark(self) -> str:
        """Return a text that changes if the content of the files does."""
        readings = [file.reading for file in self.files]
        lost = [len(reading.lost) for reading in readings]
        return f"{[reading.end for reading in readings]} {lost} {self.fold.records}"

    @property
    def whole(self) -> bool:
        """Say whether every byte of the files was read as a record."""
        return not any(lost_in(file.reading) for file in self.files)

    def state(self, now_ns: int) -> str:
        """Return the state in W&B's words."""
        return state_of(self.fold, self.files[-1].file.written_ns / 1e9, now_ns / 1e9)

    @property
    def owner(self) -> tuple[str, str]:
        """Return the entity and the project that the files name, "" if they name none."""
        named = self.fold.run or NOBODY
        return named.entity, named.project


class FoundRuns(NamedTuple):
    """The runs of a folder. Two runs have one id only if their projects differ.

    `unread`: why a run could not be read, by its id. `left_out`: ids and projects of runs that are
    not wanted.
    """

    runs: Sequence[FoundRun]
    unread: Mapping[str, RunFailure]
    notices: Sequence[FileNotice]
    known: Known
    left_out: Collection[tuple[str, str]]


class StartedFile(NamedTuple):
    """A file, and the record near its beginning that names the run."""

    file: RunFile
    named: RunRecord | None

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return (self.named.run_id if self.named is not None else "") or self.file.run_id

    @property
    def started_at(self) -> tuple[int, int] | None:
        """Return its start time, in epoch seconds and nanoseconds."""
        return self.named.started_at if self.named is not None else None

    @property
    def owner(self) -> tuple[str, str]:
        """Return the entity and the project, "" if it names none."""
        return ("", "") if self.named is None else (self.named.entity, self.named.project)


def lost_in(reading: FileReading) -> list[LostBytes]:
    """Return the byte ranges of a file that could not be read, the torn end last."""
    return [*reading.lost, *([] if reading.torn is None else [reading.torn])]


def may_be_one(owner: tuple[str, str], other: tuple[str, str]) -> bool:
    """Say whether files of these entities and projects may be of one run; "" matches any."""
    return all(not one or not two or one == two for one, two in zip(owner, other, strict=True))


def apart(starts: Sequence[StartedFile]) -> list[list[StartedFile]]:
    """Group the files of one run id by project, if they are of different ones."""
    if len(starts) == 1:
        return [list(starts)]
    owners = [start.owner for start in starts]
    entities, projects = ({*filter(None, names)} for names in zip(*owners, strict=True))
    if len(entities) < 2 and len(projects) < 2:
        return [list(starts)]
    ordered = sorted(starts, key=lambda start: start.owner)
    return [list(group) for _, group in groupby(ordered, key=lambda start: start.owner)]


def on_disk(run: FoundRun, now_ns: int) -> RunOnDisk:
    """Return the description of a run for a report."""
    fold = run.fold
    named = fold.run or NOBODY
    return RunOnDisk(
        run_id=run.run_id,
        entity=named.entity,
        project=named.project,
        name=named.display_name,
        state=run.state(now_ns),
        created_at=None if fold.started_at is None else time_of(fold.started_at[0], 0),
        rows=fold.rows,
        last_step=fold.last_step,
        files=tuple(file.file.name for file in run.files),
        bytes=sum(file.file.size for file in run.files),
        whole=run.whole,
        forked_from=tuple(
            f"{point.run_id} at {point.metric or '_step'} {point.value}"
            for point in fold.branch_points
        ),
    )
