"""In which formats an export holds its rows."""

from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.manifest import (
    DataFile,
    ExportManifest,
    Requested,
    RequestedDataset,
)
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.sync.formats import (
    format_problems,
    formats_after,
    formats_before,
    goes_in_columns,
)
from dr_wandb.core.sync.planned_formats import planned_formats
from tests.support.syncing import select


def request(**fields: Any) -> ExportRequest:
    fields = {"entity": "e", "project": "p", "name": "n", "mode": "history"} | fields
    return ExportRequest(**fields)


def manifest(*formats: str) -> ExportManifest:
    """Return the manifest of an export with these formats; one without history has none."""
    datasets = {"history": RequestedDataset(formats=list(formats))} if formats else {}
    return ExportManifest(
        name="n",
        entity="e",
        project="p",
        mode=ExportMode.HISTORY if formats else ExportMode.METADATA,
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:00Z",
        runs_path="runs.jsonl",
        requested=Requested(datasets=datasets),
    )


NEW = manifest()
LINES = manifest("jsonl")
BOTH = manifest("jsonl", "parquet")


@pytest.mark.parametrize(
    ("held", "fields", "after"),
    [
        (NEW, {}, {"jsonl"}),
        (NEW, {"mode": "metadata"}, set()),
        (NEW, {"formats": ("parquet", "jsonl")}, {"jsonl", "parquet"}),
        (LINES, {"formats": ("parquet",)}, {"jsonl", "parquet"}),
        (LINES, {"mode": "metadata", "formats": ("parquet",)}, {"jsonl", "parquet"}),
        (BOTH, {}, {"jsonl", "parquet"}),
        (BOTH, {"mode": "metadata"}, {"jsonl", "parquet"}),
        (BOTH, {"drop_formats": ("parquet",)}, {"jsonl"}),
        (LINES, {"drop_formats": ("parquet",)}, {"jsonl"}),
    ],
)
def test_format_stays_until_it_is_dropped(
    held: ExportManifest, fields: dict[str, Any], after: set[str]
) -> None:
    asked = request(**fields)
    assert formats_after(asked, held) == after
    assert not [*format_problems(asked, held)]


def test_new_export_has_no_formats_before_its_first_sync() -> None:
    assert formats_before(None) == frozenset()
    assert formats_after(request(), None) == {"jsonl"}


@pytest.mark.parametrize(
    ("formats", "dataset", "window", "selection"),
    [
        (("jsonl",), HISTORY, WHOLE_RUN, EVERYTHING),
        (("jsonl", "parquet"), HISTORY, WHOLE_RUN, EVERYTHING),
        ((), HISTORY, WHOLE_RUN, EVERYTHING),
        (("parquet",), "system", WHOLE_RUN, EVERYTHING),
        (("parquet",), HISTORY, FetchWindow(start=1), EVERYTHING),
        (("parquet",), HISTORY, FetchWindow(stop=1), EVERYTHING),
        (("parquet",), HISTORY, WHOLE_RUN, select("loss")),
        (("parquet",), HISTORY, WHOLE_RUN, select(max_records=1)),
        (("parquet",), HISTORY, WHOLE_RUN, select(min_step=1)),
    ],
)
def test_rows_that_are_held_or_selected_as_lines_become_lines(
    formats: tuple[str, ...], dataset: str, window: FetchWindow, selection: HistorySelection
) -> None:
    assert not goes_in_columns(formats, dataset, window, selection)
    assert goes_in_columns(("parquet",), HISTORY, WHOLE_RUN, EVERYTHING)


def test_last_format_cannot_be_dropped() -> None:
    (problem,) = format_problems(request(drop_formats=("jsonl",)), LINES)
    assert problem == (
        "--drop-format jsonl would leave n without its history: give another --format beside it"
    )


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({"formats": ("parquet",)}, "--format parquet"),
        ({"drop_formats": ("jsonl",)}, "--drop-format jsonl"),
    ],
)
def test_format_of_an_export_without_history_needs_mode_history(
    fields: dict[str, Any], flag: str
) -> None:
    (problem,) = format_problems(request(mode="metadata", **fields), NEW)
    assert problem == f"{flag} needs --mode history: n has no history"


def test_formats_are_sorted_and_checked() -> None:
    assert request(formats=("parquet", "jsonl", "parquet")).formats == ("jsonl", "parquet")
    with pytest.raises(InvalidRequestError) as caught:
        request(formats=("csv", "jsonl"), drop_formats=("jsonl",))
    assert caught.value.problems == (
        "a format is jsonl or parquet, not 'csv'",
        "format jsonl cannot be asked for and dropped at once",
    )


FILES = {
    "history.jsonl": DataFile(lines=7, bytes=100, sha256=""),
    "parquet/history/2026-01-a.parquet": DataFile(lines=7, bytes=20, sha256=""),
    "parquet/runs.parquet": DataFile(lines=2, bytes=3, sha256=""),
    "runs.jsonl": DataFile(lines=2, bytes=50, sha256=""),
}
HELD_LINES, HELD_BOTH = (
    replace(held, files=FILES, history_count=7)
    for held in (manifest("jsonl"), manifest("jsonl", "parquet"))
)


@pytest.mark.parametrize(
    ("held", "fields", "planned"),
    [
        (None, {}, []),
        (None, {"formats": ("parquet",)}, [("make", "parquet", 0, 0)]),
        (manifest(), {"mode": "metadata"}, []),
        (HELD_LINES, {"formats": ("jsonl",)}, []),
        (HELD_LINES, {"formats": ("parquet",)}, [("make", "parquet", 7, 0)]),
        (
            HELD_LINES,
            {"mode": "metadata", "formats": ("parquet",), "drop_formats": ("jsonl",)},
            [("make", "parquet", 7, 0), ("drop", "jsonl", 7, 100)],
        ),
        (HELD_BOTH, {"drop_formats": ("parquet",)}, [("drop", "parquet", 7, 23)]),
        (HELD_BOTH, {}, []),
    ],
)
def test_plan_has_the_formats_that_change(
    held: ExportManifest | None, fields: dict[str, Any], planned: list[tuple[str, str, int, int]]
) -> None:
    found = planned_formats(request(**fields), held)
    assert [(one.action, one.format, one.rows, one.bytes) for one in found] == planned
