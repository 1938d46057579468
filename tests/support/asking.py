"""Ask a source for its listings and its rows, and say what it should answer."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.artifacts import WandbArtifact, normalize_artifact
from dr_wandb.core.contract.codec import fingerprint, run_and_key
from dr_wandb.core.contract.dataset import CONSOLE, DATASETS, FILES, SYSTEM, counts_in
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.large_member import with_large
from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunListing, list_run
from dr_wandb.core.contract.normalize import normalize_row, normalize_run
from dr_wandb.core.contract.records import ConsoleLine, RunFile, SystemSample
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.contract.run_files import run_file
from dr_wandb.shell.sources import Source
from dr_wandb.shell.sources.datasets import RecordPage, find_reader
from dr_wandb.shell.store.divided_lines import records_in
from tests.support.arrived_rows import joined_rows, received, selected_lines
from tests.support.described_project import RunDescription

WHOLE = FetchWindow()

METADATA_FILE = "wandb-metadata.json"

WINDOWS = (
    WHOLE,
    FetchWindow(start=0),
    FetchWindow(start=1),
    FetchWindow(start=3),
    FetchWindow(stop=3),
    FetchWindow(start=0, stop=1),
    FetchWindow(start=2, stop=4),
    FetchWindow(start=5, stop=40_001),
    FetchWindow(start=40_001),
    FetchWindow(start=50_000),
    FetchWindow(stop=0),
)


def list_nodes(source: Source, query: ListingQuery | None = None) -> list[dict[str, Any]]:
    """Return the nodes of an answer in order, of every run by default."""
    pages = source.list_runs(query or EveryRun())
    return [dict(raw_run) for page in pages for raw_run in page.runs]


def list_all(source: Source, query: ListingQuery | None = None) -> dict[str, RunListing]:
    """Return the listings of an answer by run id, of every run by default."""
    listed = {}
    for node in list_nodes(source, query):
        run = normalize_run(node, entity="e", project="p")
        counts = counts_in(node, DATASETS)
        listed[run.run_id] = replace(list_run(run, fingerprint(run)), other_counts=counts)
    return listed


def read_artifacts(
    pages: Iterable[RecordPage],
) -> tuple[list[RecordPage], list[WandbArtifact]]:
    """Read the artifacts of an answer with their entries, page by page. Returns the pages, too."""
    read, records = [], []
    for page in pages:
        read.append(page)
        for node in page.nodes:
            record = normalize_artifact(node)
            content = page.contents.get(record.artifact_id)
            if content is not None:
                entries = [one for some in records_in(content, WandbArtifact) for one in some]
                record = with_large(record, entries)
            records.append(record)
    return read, records


def read_raw_rows(
    source: Source, run: RunListing, window: FetchWindow = WHOLE
) -> list[dict[str, Any]]:
    """Return the raw rows that a source gives."""
    return [dict(row) for batch in source.read_history(run, window, 0) for row in batch.rows]


def read_rows(
    source: Source, run: RunListing, window: FetchWindow = WHOLE, attempt: int = 0
) -> list[bytes]:
    """Return the distinct rows that a source gives, normalized, in the order of an export."""
    rows = [
        received(normalize_row(row, run.run_id), live=batch.live, file=batch.file)
        for batch in source.read_history(run, window, attempt)
        for row in batch.rows
    ]
    return selected_lines(joined_rows(rows))


def read_console(source: Source, run: RunListing, window: FetchWindow = WHOLE) -> list[ConsoleLine]:
    """Return the lines of a console that a source gives, by number; the last copy counts."""
    read, form = find_reader(source, CONSOLE), form_of(CONSOLE)
    assert read is not None
    found: dict[int, ConsoleLine] = {}
    for batch in sorted(read(run, window, 0), key=lambda batch: batch.file):
        for line in form.encode(batch.rows, run.run_id).lines.splitlines(keepends=True):
            row = form.decode(line).unwrap()
            found[row.number] = row
    return [found[number] for number in sorted(found)]


def list_files(source: Source, run: RunListing) -> dict[str, RunFile]:
    """Return the files of a run that a source lists, by path, without its metadata file."""
    read = find_reader(source, FILES)
    assert read is not None
    rows = [row for batch in read(run, WHOLE, 0) for row in batch.rows]
    files = [run_file(row, run.run_id) for row in rows]
    return {file.path: file for file in files if file.path != METADATA_FILE}


def read_samples(source: Source, run: RunListing) -> list[SystemSample]:
    """Return the samples of a machine that a source gives, in the order of an export."""
    read, form = find_reader(source, SYSTEM), form_of(SYSTEM)
    assert read is not None
    lines = [
        line
        for batch in read(run, WHOLE, 0)
        for line in form.encode(batch.rows, run.run_id).lines.splitlines(keepends=True)
    ]
    ordered = sorted({*lines}, key=lambda line: (run_and_key(line)[1], line))
    return [form.decode(line).unwrap() for line in ordered]


def expected_rows(run: RunDescription, window: FetchWindow = WHOLE) -> list[bytes]:
    """Return the rows of a description that lie inside a window, in the order of an export."""
    lines = []
    for raw_row in run.rows:
        step = raw_row.get("_step", 0)
        if step >= (window.start or 0) and (window.stop is None or step < window.stop):
            lines.append(received(normalize_row(raw_row, run.run_id)))
    return selected_lines(joined_rows(lines))
