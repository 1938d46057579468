"""What reads stored bytes, each to be given any bytes at all.

A target ends well, or with the one error that it documents; anything else is a bug. What it could
read it can write, and read again as the same.
"""

import atexit
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from returns.pipeline import is_successful
from returns.result import Result

from dr_wandb import plan_listing, plan_sync
from dr_wandb.core.contract.codec import (
    canonical_row,
    canonical_snapshot,
    decode_row,
    decode_snapshot,
    encode_document,
    encode_line,
    run_and_key,
)
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun, RunListing, list_run
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.contract.state import ExportState
from dr_wandb.shell.sources import RowBatch, SourceError
from dr_wandb.shell.sources.recording.source import RecordedSource
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER, roll_forward
from dr_wandb.shell.store.documents import load_document
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import SegmentHeader, find_segment, segment_path
from tests.support.checkout import EXPORT_OF_3_0_3 as EXPORT
from tests.support.checkout import RECORDING

RECORDED = sorted(path.relative_to(RECORDING) for path in RECORDING.rglob("*.json*"))

Target = Callable[[bytes], None]


def read_row(content: bytes) -> None:
    decoded: Result[Any, str] = decode_row(content)
    if is_successful(decoded):
        run_and_key(encode_line(decoded.unwrap()))
    _reads_again(canonical_row(content), canonical_row)


def read_snapshot(content: bytes) -> None:
    decoded = decode_snapshot(content)
    if is_successful(decoded):
        list_run(decoded.unwrap().run, "")
        encode_line(decoded.unwrap())
    _reads_again(canonical_snapshot(content), canonical_snapshot)


def _reads_again(decoded: Result[Any, str], decode: Callable[[bytes], Result[Any, str]]) -> None:
    if not is_successful(decoded):
        assert isinstance(decoded.failure(), str)
        assert decoded.failure()
        return
    line = encode_line(decoded.unwrap())
    assert line.count(b"\n") == 1
    assert encode_line(decode(line).unwrap()) == line


def read_manifest(content: bytes) -> None:
    document = _load(content, ExportManifest)
    if document is not None:
        encode_document(document)


def read_state(content: bytes) -> None:
    """Load a state and plan a sync on it, whatever it says."""
    state = _load(content, ExportState)
    if state is None:
        return
    encode_document(state)
    runs = [tracking.seen for tracking in state.runs.values() if tracking.seen is not None]
    listing = (*runs[1:], RunListing(run_id="new", history_line_count=3, last_step=2))
    for mode in ExportMode:
        for sync_mode in SyncMode:
            request = ExportRequest(
                entity="entity", project="project", name="x", mode=mode, sync_mode=sync_mode
            )
            plan_listing(request, state)
            plan_sync(request, state, tuple({run.run_id: run for run in listing}.values()))


def _load(content: bytes, kind: Any) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "document.json"
        path.write_bytes(content)
        try:
            return load_document(path, kind)
        except DrWandbError as error:
            words = str(error)
    assert str(path) in words
    return None


def read_commit_record(content: bytes) -> None:
    """Roll forward whatever a record says: nothing but the five files is ever made or replaced."""
    with TemporaryDirectory() as folder:
        export = Path(folder) / "export"
        (export / STAGING_FOLDER).mkdir(parents=True)
        (export / STAGING_FOLDER / "runs.jsonl").write_bytes(b"{}\n")
        (export / "precious").write_bytes(b"years of work")
        (export / RECORD_FILE).write_bytes(content)
        words = ""
        try:
            assert roll_forward(export)
        except DrWandbError as error:
            words = str(error)
        assert (str(export) in words) == (export / RECORD_FILE).exists()
        assert (export / "precious").read_bytes() == b"years of work"
        assert {path.name for path in Path(folder).iterdir()} == {"export"}
        names = {path.name for path in export.iterdir()}
        assert names <= {STAGING_FOLDER, RECORD_FILE, "precious", "runs.jsonl"}


HEADER = SegmentHeader(
    run=RunListing(run_id="r", history_line_count=2, last_step=1),
    window=FetchWindow(),
    selection=EVERYTHING,
    source="memory",
)


ROWS = [
    encode_line(HistoryRow(run_id="r", step=step, timestamp="5", metrics={"loss": step}))
    for step in range(2)
]


def segment() -> bytes:
    """Return a whole segment that holds `ROWS`."""
    with TemporaryDirectory() as folder, SegmentWriter(Path(folder), HEADER) as writer:
        rows = [{"_step": step, "_timestamp": 5, "loss": step} for step in range(2)]
        writer.add(RowBatch(rows=rows, live=True))
        return Path(writer.finish().path).read_bytes()


def read_segment(content: bytes) -> None:
    """Take a segment that an earlier sync may have left, or none: its rows are as they were."""
    with TemporaryDirectory() as folder:
        segment_path(Path(folder), HEADER).write_bytes(content)
        found = find_segment(Path(folder), HEADER)
        assert found is None or list(found.lines()) == ROWS


def read_recording(content: bytes) -> None:
    """Replay a recording one of whose files, by the first byte, has this content."""
    name = RECORDED[content[0] % len(RECORDED)] if content else RECORDED[0]
    (_copy() / name).write_bytes(content[1:])
    try:
        replay(_copy())
    finally:
        shutil.copyfile(RECORDING / name, _copy() / name)


@cache
def _copy() -> Path:
    """Return a copy of the recording, for as long as this process lives."""
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    shutil.copytree(RECORDING, Path(folder.name) / "recording")
    return Path(folder.name) / "recording"


def replay(recording: Path) -> None:
    """Ask a recording for all that it holds."""
    try:
        source = RecordedSource(recording)
        runs = []
        for page in source.list_runs(EveryRun()):
            for raw_run in page.runs:
                try:
                    listed = normalize_run(raw_run, entity=source.entity, project=source.project)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    continue  # a run that does not read concerns itself alone
                runs.append(list_run(listed, ""))
    except (DrWandbError, SourceError):
        return
    for run in runs:
        for ask in (_rows, _metadata):
            try:
                ask(source, run)
            except (DrWandbError, SourceError):
                continue


def _rows(source: RecordedSource, run: RunListing) -> None:
    for batch in source.read_history(run, FetchWindow(), 0):
        assert batch.rows


def _metadata(source: RecordedSource, run: RunListing) -> None:
    source.read_metadata(run)


TARGETS: tuple[Target, ...] = (
    read_row,
    read_snapshot,
    read_manifest,
    read_state,
    read_commit_record,
    read_segment,
    read_recording,
)


def seeds() -> Iterator[tuple[int, bytes]]:
    """Give valid content for each target, by its number."""
    for number, name in enumerate(("history.jsonl", "runs.jsonl")):
        for line in (EXPORT / name).read_bytes().splitlines(keepends=True):
            yield number, line
    yield 2, (EXPORT / "manifest.json").read_bytes()
    yield 3, (EXPORT / "state.json").read_bytes()
    yield from ((number, document.encode()) for number, document in _written_here())
    for number, recorded in enumerate(RECORDED):
        yield 6, bytes([number]) + (RECORDING / recorded).read_bytes()[:20_000]


def _written_here() -> Iterator[tuple[int, str]]:
    counts = '{"line_count":5,"last_step":4,"last_logged_at":"5.5"}'
    seen = (
        '{"run_id":"a","storage_id":"s","state":"finished","created_at":"2026-01-01T00:00:00Z",'
        '"heartbeat_at":"2026-01-01T00:00:00Z","history_line_count":5,"last_step":4}'
    )
    position = (
        '{"selection":{"keys":["loss"],"window":{"min_step":1}},"rows":5,"last_step":4,'
        f'"boundary":"ab","boundary_rows":1,"listed":{counts}}}'
    )
    yield (
        3,
        '{"schema_version":2,"name":"x","entity":"entity","project":"project","runs":{"a":'
        f'{{"run_id":"a","run_state":"finished","seen":{seen},"position":{position},'
        '"snapshot":{"offset":0,"length":9,"rows":1,"digest":"d"}}},"runs_file":"ab"}',
    )
    digest = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    yield (
        4,
        '{"files":[{"name":"runs.jsonl","staged":".staging/runs.jsonl","bytes":3,'
        f'"sha256":"{digest}"}}]}}\n',
    )
    yield 5, segment().decode()
