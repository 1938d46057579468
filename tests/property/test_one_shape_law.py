"""The law of one shape: the bytes of a run's rows do not depend on the way they came.

Live, exported in one file, in several before they are compacted, half of each, recorded and
replayed, from a `.wandb` file, and from an export that was stored in an earlier shape.
"""

import json
import math
import random
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line, row_key
from dr_wandb.core.contract.columns import RowBatch, StoredRows
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.select import select_rows
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.values import json_safe, spell_number
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.wandb_file import read_file, rows_of
from dr_wandb.shell.sources import EncodableRows
from dr_wandb.shell.sources.api.parquet import read_parquet
from dr_wandb.shell.sources.recording.recorder import Recorder
from dr_wandb.shell.sources.recording.source import RecordedSource
from dr_wandb.shell.sync.segment_writer import SegmentWriter, write_segment
from dr_wandb.shell.sync.segments import SegmentHeader
from tests.support import strategies as some
from tests.support.memory_source import MemorySource
from tests.support.server.history import encode_row, flat_row
from tests.support.server.parquet import ParquetFile, encode_parquet, split_columns, split_rows
from tests.support.wandb_file import file_of, header_record, row_record, run_record

RUN = "run"
START = 1_767_225_600.25
Row = dict[str, Any]
Way = Callable[[list[Row], Path], Iterable[EncodableRows]]

# --- rows that W&B can hold, each in whichever way


numbers = st.sampled_from([0, 1, -1, 0.5, 3.0, 2**53 + 1, -0.0, 1e-7, 1e300, 2.0**60])
odd_numbers = st.sampled_from([math.nan, math.inf, -math.inf])
texts = st.sampled_from(["", "x", "NaN", '{"a":1}', "é😀", 'quote"', "line\nbreak"])
scalars = numbers | odd_numbers | texts | st.booleans()
IMAGE = {"_type": "image-file", "path": "media/images/a_0.png", "size": 12, "caption": None}
HISTOGRAM = {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]}
media = st.sampled_from([IMAGE, HISTOGRAM, {**IMAGE, "boxes": {"p": {"_type": "boxes2D"}}}])


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.sampled_from(["x", "y", "z w"]), inner, max_size=2)
    return objects | st.lists(inner | st.none(), max_size=3) | media


values = st.none() | st.recursive(scalars, _containers, max_leaves=5)
keys = st.sampled_from(["loss", "acc", "val", "a/b", "deep.er", "image", "_own", "_wandb"])


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """The rows of one run, in the order of their steps; some columns keep their kind."""
    steps = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=8)))
    steady = draw(st.dictionaries(keys, st.sampled_from([numbers, numbers | odd_numbers, media])))
    return [
        {
            "_step": step,
            "_timestamp": START + step / 4,
            "_runtime": step / 4,
            **draw(st.dictionaries(keys, values, max_size=3)),
            **{key: draw(kind) for key, kind in steady.items() if draw(st.booleans())},
        }
        for step in steps
    ]


# --- the ways


def live(rows: list[Row], folder: Path) -> Iterator[RowBatch]:
    shuffled = random.Random(len(rows)).sample(rows, len(rows))
    yield RowBatch(rows=[json.loads(encode_row(flat_row(row))) for row in shuffled])


def live_and_nested(rows: list[Row], folder: Path) -> Iterator[RowBatch]:
    yield RowBatch(rows=[json.loads(encode_row(row)) for row in rows])


def files(written: Iterable[ParquetFile], folder: Path) -> Iterator[EncodableRows]:
    for number, file in enumerate(written):
        path = folder / f"{number}.parquet"
        path.write_bytes(file.content)
        yield from read_parquet(path, FetchWindow(), number)


def one_file(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    return files([encode_parquet("a", rows)], folder)


def given_by(way: Way, rows: list[Row], folder: Path) -> Generator[Any, None, None]:
    """Give rows in a way, as a generator, which can be closed."""
    yield from way(rows, folder)


def file_of_doubles_and_bytes(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    as_json = {key for row in rows for key in flat_row(row) if not key.startswith("_")}
    return files([encode_parquet("a", rows, double_steps=True, as_json=as_json)], folder)


def shuffled_file(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    return files([encode_parquet("a", rows[::2] + rows[1::2][::-1])], folder)


def several_files(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    parts = split_rows(rows, 3)
    return files([encode_parquet("a", part) for part in reversed(parts)], folder)


def files_of_columns(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    return files([encode_parquet("a", part) for part in split_columns(rows, 3)], folder)


def half_of_each(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    middle = len(rows) // 2 + 1
    yield from live(rows[middle - 1 :], folder)
    yield from one_file(rows[:middle], folder)


def recorded(way: Way) -> Way:
    """Pass the rows of another way through a recording."""

    def replayed(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
        class Source(MemorySource):
            def read_history(self, *_: Any) -> Iterator[Any]:
                yield from way(rows, folder)

        run, place = RunListing(run_id=RUN), folder / "recording"
        made = {"entity": "e", "project": "p", "mode": "history"}
        with Recorder(Source(), place, recorded_at="2026-01-01T00:00:00Z", **made) as recorder:
            list(recorder.read_history(run, FetchWindow(), 0))
        yield from RecordedSource(place).read_history(run, FetchWindow(), 0)

    replayed.__name__ = f"recorded_{way.__name__}"
    return replayed


def wandb_file(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    records = [
        row_record(row, seed=number, split=number % 3 > 0) for number, row in enumerate(rows)
    ]
    data = file_of([header_record(), run_record(run_id=RUN), *records])
    yield from rows_of(data, read_file(data, FileReading()), FetchWindow())


def stored_before(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    """As an export of schema_version 2 holds them: objects as they came, live."""
    yield StoredRows(b"".join(map(line_of_version_2, rows)))


def stored_now(rows: list[Row], folder: Path) -> Iterator[EncodableRows]:
    yield StoredRows(b"".join(map(expected_line, rows)))


def line_of_version_2(row: Row) -> bytes:
    safe = json_safe(row, drop_nulls=True)
    own = {"_step", "_timestamp", "_runtime"}
    is_object = isinstance(safe.get("_wandb"), dict)
    line = {
        "run_id": RUN,
        "step": safe["_step"],
        "timestamp": spell_number(row["_timestamp"]),
        "runtime": safe["_runtime"],
        "wandb_metadata": safe["_wandb"] if is_object else {},
        "metrics": {key: one for key, one in safe.items() if not key.startswith("_")},
        "extra": {
            key: one
            for key, one in safe.items()
            if key.startswith("_") and key not in own and not (key == "_wandb" and is_object)
        },
    }
    return msgspec.json.encode(line, order="sorted") + b"\n"


def expected_line(row: Row) -> bytes:
    return encode_line(normalize_row(row, RUN))


WAYS: list[Way] = [
    live,
    live_and_nested,
    one_file,
    file_of_doubles_and_bytes,
    shuffled_file,
    several_files,
    files_of_columns,
    half_of_each,
    recorded(live),
    recorded(one_file),
    recorded(files_of_columns),
    wandb_file,
    stored_before,
    stored_now,
]


def written(
    batches: Iterable[EncodableRows], folder: Path, selection: HistorySelection = EVERYTHING
) -> tuple[bytes, Received]:
    """Return what a segment holds of the rows, and what it says of them."""
    with SegmentWriter(folder, header(selection)) as writer:
        for batch in batches:
            writer.add(batch)
        segment = writer.finish()
    return b"".join(segment.lines()), segment.received


def header(selection: HistorySelection) -> SegmentHeader:
    return SegmentHeader(
        run=RunListing(run_id=RUN), window=FetchWindow(), selection=selection, source="test"
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@given(histories())
def test_bytes_of_rows_do_not_depend_on_the_way_they_came(way: Way, rows: list[Row]) -> None:
    with TemporaryDirectory() as folder:
        lines, received = written(way(rows, Path(folder)), Path(folder))
        expected = b"".join(map(expected_line, rows))
        assert lines.split(b"\n") == expected.split(b"\n")
        assert received == written([StoredRows(expected)], Path(folder))[1]


def test_key_that_leads_into_a_value_and_names_a_metric_loses_no_row(tmp_path: Path) -> None:
    """Rows with the object were left out if another row of the batch had a metric of that name."""
    image = {"_type": "image-file", "path": "p"}
    rows: list[Row] = [
        {"_step": 0, "_timestamp": START, "image.path": "x"},
        {"_step": 1, "_timestamp": START + 1, "image": image},
        {"_step": 2, "_timestamp": START + 2, "image.path.q": 3},
    ]
    selection = HistorySelection(keys=("image.path",))
    made = write_segment(tmp_path, header(selection), lambda: given_by(one_file, rows, tmp_path))
    assert [json.loads(line)["metrics"] for line in made.lines()] == [
        {"image.path": "x"},
        {"image.path": "p"},
        {"image.path.q": 3},
    ]
    assert b"".join(made.lines()) == selected(rows, selection)


selections = some.selections | st.sampled_from(
    [
        HistorySelection(keys=keys)
        for keys in [("val",), ("loss", "val.x"), ("image.path",), ("deep",), ("_own", "a/b")]
    ]
)


@pytest.mark.parametrize("way", [live, half_of_each, files_of_columns, wandb_file])
@given(histories(), selections)
def test_selected_rows_do_not_depend_on_the_way_rows_came(
    way: Way, rows: list[Row], selection: HistorySelection
) -> None:
    with TemporaryDirectory() as folder:
        lines, received = written(way(rows, Path(folder)), Path(folder), selection)
        assert lines.split(b"\n") == selected(rows, selection).split(b"\n")
        assert received == written(way(rows, Path(folder)), Path(folder))[1]


@pytest.mark.parametrize("way", [one_file, several_files, shuffled_file, files_of_columns])
@given(histories(), selections)
def test_selecting_from_files_before_rows_are_encoded_gives_the_same(
    way: Way, rows: list[Row], selection: HistorySelection
) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        made = write_segment(place, header(selection), lambda: given_by(way, rows, place))
        assert b"".join(made.lines()).split(b"\n") == selected(rows, selection).split(b"\n")
        assert made.received == written(way(rows, place), place)[1]


def selected(rows: list[Row], selection: HistorySelection) -> bytes:
    """Return what a selection admits; `max_records` is a matter of the whole run."""
    found = sorted(
        (normalize_row(row, RUN) for row in rows), key=lambda row: row_key(row.step, row.timestamp)
    )
    bounds = None if selection.window is None else selection.window
    window = (
        None if bounds is None else type(bounds)(min_step=bounds.min_step, max_step=bounds.max_step)
    )
    chosen = HistorySelection(keys=selection.keys, window=window)
    return b"".join(map(encode_line, select_rows(found, chosen)))
