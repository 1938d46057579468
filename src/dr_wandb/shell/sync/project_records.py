"""Sync the datasets of a project: list their records, decide, and write their files.

Rules
- A listing that fails or is not complete is tried again, as that of runs is. Then the records that
  came are stored, what is held stays, and the summary says so: the runs are synced all the same.
- A record that does not read counts as not listed.
- Files of datasets that were not requested stay as they are.
"""

from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from dr_wandb.core.contract.changes import RecordChanges
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.project_record import LinkedRecord, ProjectRecord
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.sync.estimate import record_requests
from dr_wandb.core.sync.listing_plan import Answer
from dr_wandb.core.sync.planned_records import RecordCounts
from dr_wandb.core.sync.project_records import (
    RecordsPlan,
    advance_part,
    find_absent,
    find_vanished,
    plan_records,
)
from dr_wandb.core.sync.record_links import (
    RunLinks,
    RunsToAsk,
    advance_linked,
    find_runs_to_ask,
)
from dr_wandb.core.sync.summary import RecordsSummary
from dr_wandb.shell.progress import LOGGER, LongListing, ProgressCallback, say_nothing
from dr_wandb.shell.sources import Source, requests_of
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage, find_lister
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import digest_of
from dr_wandb.shell.store.divided_lines import FileRange
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.linked_records import LinkedRecords
from dr_wandb.shell.sync.listing import Pause
from dr_wandb.shell.sync.record_listing import ListedRecords, list_records
from dr_wandb.shell.sync.records_file import RecordsFile

NO_RUNS = RunsToAsk((), {})


def note_nothing(record: ProjectRecord) -> None:
    """Note nothing of a record."""


class SyncedRecords(Record, frozen=True, kw_only=True):
    """A dataset of the project after a sync: what is known of it, and its file in the staging."""

    plan: RecordsPlan
    part: ProjectPart
    file: DataFile
    changes: RecordChanges
    unread: Mapping[str, RunFailure] = {}

    @property
    def summary(self) -> RecordsSummary:
        """Sum it up."""
        missing = sum(line.missing_since is not None for line in self.plan.lines)
        return RecordsSummary(
            count=self.file.lines,
            new_count=len(self.plan.new),
            changed_count=len(self.plan.changed),
            missing_count=missing,
            pruned_count=len(self.plan.pruned),
            unlisted_count=self.part.unlisted,
            unread=dict(sorted(self.unread.items())),
            failure=self.part.failure,
        )


class ProjectSync:
    """Syncs the datasets of the project that a request names.

    runs: those that were listed. now: the time of the sync. wait: pauses before a further attempt.
    recording: everything is listed, so that a replay answers any sync. progress: called after each
    page of a listing.
    """

    def __init__(
        self,
        request: ExportRequest,
        store: ExportStore,
        stored: StoredExport,
        runs: Sequence[RunListing],
        now: str,
        wait: Pause,
        *,
        recording: bool = False,
        progress: ProgressCallback = say_nothing,
    ) -> None:
        self._request = request
        self._store = store
        self._stored = stored
        self._runs = runs
        self._now = now
        self._wait = wait
        self._recording = recording
        self._progress = progress

    def sync(self, source: Source, scratch: Path) -> dict[str, SyncedRecords]:
        """List the requested datasets and write their new files into a folder."""
        return {
            dataset: self._sync_one(source, dataset, scratch)
            for dataset in self._request.project_datasets
        }

    def plan(self, source: Source, scratch: Path) -> dict[str, RecordCounts]:
        """Say what a sync would do with the requested datasets, as far as their listings show."""
        counts = {}
        for dataset in self._request.project_datasets:
            held = self._linked_records(dataset)
            with self._records_file(dataset, scratch, held) as file:
                known = replace(self._known(dataset, file, held, ()), listing_only=True)
                before = requests_of(source)
                listed = self._list(source, dataset, file, known)
                listed_with = requests_of(source) - before
                contents = _contents_to_read(file, known)
                plan, listed = self._decide(source, dataset, file, listed, held)
                counts[dataset] = RecordCounts(
                    listed=len(file.listed),
                    new=len(plan.new),
                    changed=len(plan.changed),
                    missing=len(plan.missing),
                    pruned=len(plan.pruned),
                    requests=record_requests(
                        PROJECT_DATASETS[dataset],
                        source.kind,
                        listed_with=listed_with,
                        runs=len(self._to_ask(dataset).run_ids),
                        contents=len(contents),
                    ),
                    bytes=file.bytes_of((*plan.new, *plan.changed)) + sum(contents.values()),
                    failure=listed.failure,
                )
        return counts

    def _to_ask(self, dataset: str) -> RunsToAsk:
        """Return the runs that are asked for their links."""
        if not PROJECT_DATASETS[dataset].linked:
            return NO_RUNS
        linked = self._part(dataset).linked
        return find_runs_to_ask(
            dataset, self._request, linked, self._runs, everything=self._recording
        )

    def _records_file(self, dataset: str, scratch: Path, held: LinkedRecords | None) -> RecordsFile:
        path = self._store.record_paths[dataset]
        as_written = describe_held(path, self._stored) is not None
        note_held = note_nothing if held is None else held.note_held
        return RecordsFile(dataset, path, scratch, note_held, as_written=as_written)

    def _sync_one(self, source: Source, dataset: str, scratch: Path) -> SyncedRecords:
        held, part = self._linked_records(dataset), self._part(dataset)
        asked = self._to_ask(dataset)
        with self._records_file(dataset, scratch, held) as file:
            listed = self._list(
                source, dataset, file, self._known(dataset, file, held, asked.run_ids)
            )
            emptied = dict.fromkeys(asked.emptied, RunLinks())
            listed = replace(listed, links={**listed.links, **emptied})
            plan, listed = self._decide(source, dataset, file, listed, held)
            now = advance_part(
                part,
                plan,
                file.listed,
                source=source.kind,
                unlisted=listed.unlisted,
                failure=listed.failure,
                marks=self._marks(part, listed, file),
                linked=advance_linked(part.linked, asked, listed.links, listed.unread.keys()),
                waiting={} if held is None else held.waiting,
            )
            known = describe_held(self._store.record_paths[dataset], self._stored)
            return SyncedRecords(
                plan=plan,
                part=now,
                file=file.write(plan, known),
                changes=file.changes(plan),
                unread=listed.unread,
            )

    def _part(self, dataset: str) -> ProjectPart:
        return self._stored.state.project_part(dataset)

    def _linked_records(self, dataset: str) -> LinkedRecords | None:
        """Return what is to be noted of the held records, None if runs do not link the dataset."""
        if not PROJECT_DATASETS[dataset].linked:
            return None
        return LinkedRecords(dataset, self._part(dataset).waiting)

    def _known(
        self, dataset: str, file: RecordsFile, held: LinkedRecords | None, runs: Sequence[str]
    ) -> Known:
        """Return what a source need not give again."""
        if self._recording:
            return Known(runs=runs)
        compares = self._request.sync_mode != SyncMode.INCREMENTAL or self._request.prune
        there = describe_held(self._store.record_paths[dataset], self._stored) is not None
        marks = self._part(dataset).marks if there and not compares else {}
        of_held: Mapping[str, object] = {} if held is None else held.contents
        contents = ChainMap(dict(of_held), cast("dict[str, object]", file.kept))
        return Known(marks=marks, contents=contents, runs=runs)

    def _marks(self, part: ProjectPart, listed: ListedRecords, file: RecordsFile) -> dict[str, str]:
        """Return the marks of groups that need not be listed again."""
        if listed.answer == Answer.INCOMPLETE:
            return {group: part.marks[group] for group in listed.same if group in part.marks}
        unread = {file.groups[one] for one in file.listed if file.ids[one] in listed.unread}
        return {group: mark for group, mark in listed.marks.items() if group not in unread}

    def _list(self, source: Source, dataset: str, file: RecordsFile, known: Known) -> ListedRecords:
        lister = find_lister(source, dataset)
        assert lister is not None  # `require_datasets` has looked
        long = LongListing(dataset.removesuffix("s"))

        def take(record: ProjectRecord, content: FileRange | None) -> None:
            file.take(record, content)
            long.note(len(file.listed))

        def pages(known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
            for page in lister(known):
                yield page
                done, total = len(file.listed), page.total or 0
                self._progress(
                    Progress(stage=Stage.RECORDS, dataset=dataset, done=done, total=total)
                )

        listed = list_records(pages, dataset, take, self._wait, known)
        LOGGER.info("Listed %s %s for %s", f"{len(file.listed):,}", dataset, self._request.name)
        return listed

    def _decide(
        self,
        source: Source,
        dataset: str,
        file: RecordsFile,
        listed: ListedRecords,
        held: LinkedRecords | None,
    ) -> tuple[RecordsPlan, ListedRecords]:
        """Decide what happens to each record. The listing has a failure if it is not believed."""
        part = self._part(dataset)
        unlisted: set[str] = set()
        if PROJECT_DATASETS[dataset].grouped:
            same = {*listed.same, ""}
            unlisted = {one for one in file.held if file.groups[one] in same}
        shown = {*file.listed, *unlisted}
        if listed.answer != Answer.INCOMPLETE:
            vanished = find_vanished(self._request, part, file.held, shown, source.kind)
            if vanished is not None:
                listed = replace(listed, answer=Answer.INCOMPLETE, failure=vanished)
        if held is not None:
            gone = find_absent(part, file.held, shown, answer=listed.answer, source=source.kind)
            held.complete(file, listed.links, listed.beside, {*gone})
        plan = plan_records(
            self._request,
            part,
            file.held,
            file.listed,
            answer=listed.answer,
            source=source.kind,
            now=self._now,
            unlisted=unlisted,
        )
        return plan, listed


def _contents_to_read(file: RecordsFile, known: Known) -> dict[str, int]:
    """Return the ids of the contents that would be read, with about their bytes."""
    contents = {}
    for identity in file.listed:
        record = file.listed_record(identity).record
        if isinstance(record, LinkedRecord) and record.content_bytes is not None:
            contents[record.content_id] = record.content_bytes
    return {one: size for one, size in contents.items() if one not in known.contents}


def files_of_others(
    store: ExportStore, stored: StoredExport, named: Collection[str]
) -> dict[str, DataFile]:
    """Describe the files of the project's datasets that were not named, by name."""
    files = {}
    for dataset, path in store.record_paths.items():
        if dataset not in named and path.exists():
            known = describe_held(path, stored)
            files[PROJECT_DATASETS[dataset].file] = known or describe_file(path)
    return files


def describe_held(path: Path, stored: StoredExport) -> DataFile | None:
    """Return the description of a visible file, None if it is not as the last sync left it."""
    known = None if stored.manifest is None else stored.manifest.files.get(path.name)
    return known if known is not None and digest_of(path) == known.sha256 else None


def describe_file(path: Path) -> DataFile:
    """Describe a file that was changed outside of a sync."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        lines = sum(1 for _ in disk.read_lines(stream, 0, size))
    return DataFile(lines=lines, bytes=size, sha256=disk.sha256_of(path))
