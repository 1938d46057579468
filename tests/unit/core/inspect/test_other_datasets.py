"""What a check finds in the datasets beside the history, and how it compares them with W&B."""

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import ARTIFACTS, CONSOLE, FILES, SYSTEM, Counts
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.export_files import MANIFEST_FILE, RUNS_FILE
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.file_choice import EVERY_FILE, FileChoice
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.manifest import DataFile, ExportManifest, HeldDataset
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.records import FIRST_WITH_DATASETS, WITHOUT_PARQUET
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.inspect.audit import NOT_CANONICAL, StoredRun
from dr_wandb.core.inspect.audit_rows import RowsAudit, SliceAudit, StoredPart
from dr_wandb.core.inspect.compare import reasons_against
from dr_wandb.core.inspect.consistency import check_manifest
from dr_wandb.core.inspect.holdings import CheckedExport, not_held_in
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.verify import Findings, VerifyReport

MOMENT = "2026-01-01T00:00:00Z"
FILE = DataFile(lines=2, bytes=40, sha256="6b")
MARK = "finished"


def lines(dataset: str, *raw: dict[str, Any], run_id: str = "r") -> bytes:
    return form_of(dataset).encode(raw, run_id).lines


def problems(dataset: str, content: bytes) -> list[str]:
    rules = RowRules(strict=True, dataset=dataset)
    findings = Findings()
    audit, piece = RowsAudit(dataset, findings, {"r", "s"}, rules), SliceAudit(dataset, rules)
    piece.add(content)
    audit.add(piece.finish())
    audit.finish()
    return [finding.problem for finding in findings.all()]


LINE, NEXT = {"_step": 0, "line": "a"}, {"_step": 1, "line": "b"}
FILE_A, FILE_B = {"name": "a"}, {"name": "b"}
SAMPLE, LATER = {"_timestamp": 1, "system.a": 1}, {"_timestamp": 2, "system.a": 1}


@pytest.mark.parametrize(
    ("dataset", "first", "second", "name"),
    [
        (CONSOLE, LINE, NEXT, "line 0 of run 'r'"),
        (SYSTEM, SAMPLE, LATER, "the sample at 1 of run 'r'"),
        (FILES, FILE_A, FILE_B, "file 'a' of run 'r'"),
    ],
)
def test_rows_are_checked_in_their_own_form(
    dataset: str, first: dict[str, Any], second: dict[str, Any], name: str
) -> None:
    one, two = lines(dataset, first), lines(dataset, second)
    assert problems(dataset, one + two + lines(dataset, first, run_id="s")) == []
    assert problems(dataset, one + one) == [f"{name} appears twice"]
    assert problems(dataset, two + one) == [f"out of order: {name} belongs before the row above"]
    assert problems(dataset, one.replace(b":", b": ", 1)) == [NOT_CANONICAL]
    assert problems(dataset, one + two[:-1]) == []
    (problem,) = problems(dataset, one + b"{}\n" + two)
    assert "cannot be read" in problem


def test_line_with_the_number_of_another_one_is_there_twice() -> None:
    again = lines(CONSOLE, LINE, {"_step": 0, "line": "b"})
    assert problems(CONSOLE, again) == ["line 0 of run 'r' appears twice"]


def test_file_with_the_name_of_another_one_is_there_twice() -> None:
    again = lines(FILES, {"name": "a", "md5": "1"}, {"name": "a", "md5": "2"})
    assert problems(FILES, again) == ["file 'a' of run 'r' appears twice"]


def test_samples_of_one_time_may_differ() -> None:
    assert problems(SYSTEM, lines(SYSTEM, SAMPLE, {**SAMPLE, "system.a": 2})) == []


def manifest(**fields: Any) -> ExportManifest:
    known = ExportManifest(
        schema_version=FIRST_WITH_DATASETS,
        name="n",
        entity="e",
        project="p",
        mode=ExportMode.METADATA,
        created_at=MOMENT,
        updated_at=MOMENT,
        runs_path=RUNS_FILE,
        run_count=2,
        files={RUNS_FILE: FILE, "console.jsonl": FILE},
        datasets={CONSOLE: HeldDataset(rows=2)},
    )
    return replace(known, **fields)


def checked(said: ExportManifest) -> list[tuple[str, str]]:
    findings = Findings()
    seen = {RUNS_FILE: FILE, "console.jsonl": FILE, "system.jsonl": None, "history.jsonl": None}
    check_manifest(findings, said, None, seen)
    return [(finding.file, finding.problem) for finding in findings.all()]


def test_manifest_that_describes_its_datasets_is_sound() -> None:
    assert checked(manifest()) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"datasets": {CONSOLE: HeldDataset(rows=3)}},
            "datasets has 3 rows of console, but console.jsonl has 2 lines",
        ),
        (
            {"datasets": {}},
            "datasets has None rows of console, but console.jsonl has 2 lines",
        ),
        (
            {"datasets": {CONSOLE: HeldDataset(rows=2), SYSTEM: HeldDataset(rows=1)}},
            "datasets has 1 rows of system, but system.jsonl has None lines",
        ),
        (
            {"schema_version": WITHOUT_PARQUET},
            "schema_version is 6, but files says otherwise",
        ),
    ],
)
def test_manifest_that_contradicts_its_files_is_found(fields: dict[str, Any], problem: str) -> None:
    assert checked(manifest(**fields)) == [(MANIFEST_FILE, problem)]


def test_version_of_datasets_needs_datasets() -> None:
    said = manifest(files={RUNS_FILE: FILE}, datasets={})
    found = [problem for _, problem in checked(said)]
    assert "schema_version is 8, but files says otherwise" in found


def reasons(
    part: PartTracking, *, listed: Counts, stored: int, dataset: str = CONSOLE
) -> list[str]:
    """Return what speaks against the rows of a run whose history is not held."""
    listing = RunListing(
        run_id="r",
        state="finished",
        created_at=MOMENT,
        fingerprint="f",
        other_counts={dataset: listed},
    )
    run = RunTracking(
        run_id="r",
        created_at=MOMENT,
        run_state="finished",
        seen=listing,
        fingerprint="f",
        parts={dataset: part},
    )
    at = ByteRange(offset=0, length=9, rows=stored, digest=digest(b""))
    found = {"r": StoredPart(line=1, byte_range=at, received=Received(rows=stored))}
    export = CheckedExport(
        report=VerifyReport(name="n", files={}, findings=()),
        manifest=manifest(datasets={dataset: HeldDataset(rows=2)}),
        state=ExportState(name="n", entity="e", project="p", runs={"r": run}),
        runs={
            "r": StoredRun(run_id="r", line=1, byte_range=at, created_at=MOMENT, display_name=None)
        },
        rows={dataset: found if stored else {}},
    )
    prefix = f"{dataset}: "
    said = [doubt.reason for doubt in reasons_against(export, listing)]
    return [reason.removeprefix(prefix) for reason in said if reason.startswith(prefix)]


def held(rows: int, **fields: Any) -> PartTracking:
    position = Position(rows=rows, listed=Counts(line_count=rows, mark=MARK))
    stored = ByteRange(offset=0, length=9, rows=rows, digest="") if rows else None
    return replace(PartTracking(stored=stored, position=position), **fields)


ACCEPTED = Position(rows=2, short_by=3, listed=Counts(line_count=5, mark=MARK))
CAPPED = Position(rows=100_000, short_by=5, listed=Counts(line_count=100_005, mark=MARK))


@pytest.mark.parametrize(
    ("part", "listed", "stored", "expected"),
    [
        (held(2), Counts(line_count=2, mark=MARK), 2, []),
        (held(0), Counts(line_count=0, mark=MARK), 0, []),
        (PartTracking(), Counts(line_count=2), 0, ["never read"]),
        (held(2), Counts(line_count=3, mark=MARK), 2, ["1 row behind"]),
        (held(2), Counts(line_count=1), 2, ["W&B lists 1 lines, but 2 were read"]),
        (held(2), Counts(mark=MARK), 2, ["line count not known"]),
        (
            held(2),
            Counts(line_count=2, mark="running"),
            2,
            ["the run has moved since it was read"],
        ),
        (held(2), Counts(line_count=2, mark=MARK), 1, ["1 row stored of 2 received"]),
        (
            held(2, position=ACCEPTED, evidence=Evidence(standing=Standing.ACCEPTED, difference=3)),
            Counts(line_count=5, mark=MARK),
            2,
            ["3 rows short, accepted as such"],
        ),
        (
            held(
                100_000,
                position=CAPPED,
                evidence=Evidence(standing=Standing.ACCEPTED, difference=5),
            ),
            Counts(line_count=100_005, mark=MARK),
            100_000,
            ["W&B keeps no more than 100,000 of 100,005 rows"],
        ),
        (
            held(
                2,
                position=replace(ACCEPTED, short_by=0),
                evidence=Evidence(standing=Standing.SAMPLED),
            ),
            Counts(line_count=5, mark=MARK),
            2,
            ["a sample of 2 of 5 rows"],
        ),
        (
            held(2, evidence=Evidence(standing=Standing.WAITING, missing_rows=1)),
            Counts(line_count=2, mark=MARK),
            2,
            ["1 row did not come again; kept until a second read shows that they are gone"],
        ),
    ],
)
def test_every_reason_against_a_console_is_given(
    part: PartTracking, listed: Counts, stored: int, expected: list[str]
) -> None:
    assert reasons(part, listed=listed, stored=stored) == expected


FILES_LISTED = Counts(line_count=3, version="1")


@pytest.mark.parametrize(
    ("part", "listed", "expected"),
    [
        ({"contents": EVERY_FILE}, FILES_LISTED, []),
        ({"contents": EVERY_FILE}, replace(FILES_LISTED, version="2"), ["the run has moved since"]),
        ({}, FILES_LISTED, ["only the bytes of these are held: no files"]),
        (
            {"contents": FileChoice(media=False)},
            FILES_LISTED,
            ["only the bytes of these are held: no media"],
        ),
        (
            {
                "contents": EVERY_FILE,
                "evidence": Evidence(standing=Standing.SHORT, difference=1),
                "wanting": 1,
            },
            FILES_LISTED,
            ["the content of 1 file did not come"],
        ),
    ],
)
def test_every_reason_against_files_is_given(
    part: dict[str, Any], listed: Counts, expected: list[str]
) -> None:
    wanting = part.pop("wanting", UNSET)
    position = Position(rows=2, left_out=1, wanting=wanting, listed=FILES_LISTED)
    said = reasons(held(2, position=position, **part), listed=listed, stored=2, dataset=FILES)
    assert len(said) == len(expected)
    assert all(one.startswith(begin) for one, begin in zip(said, expected, strict=True))


def test_what_is_not_held_depends_on_the_datasets() -> None:
    assert len(not_held_in(())) == 4
    assert len(not_held_in((ARTIFACTS, SYSTEM, CONSOLE))) == 1
    assert not_held_in((ARTIFACTS, SYSTEM, CONSOLE, FILES)) == ()
