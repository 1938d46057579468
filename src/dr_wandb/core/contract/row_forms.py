"""How the rows of each dataset are stored: as history rows, or in a form of their own.

Rules
- A form makes lines of raw rows, and reads lines: as they are, or those of other tools.
- Equal rows have equal bytes, and a line in our form gives its own bytes when encoded again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.codec import (
    NO_TIME,
    RowKey,
    RowName,
    canonical_row,
    decode_many_rows,
    decode_row,
    encode_line,
    moment_of,
    row_key,
)
from dr_wandb.core.contract.columns import encode_raw_rows
from dr_wandb.core.contract.console_columns import encode_console
from dr_wandb.core.contract.dataset import CONSOLE, FILES, SYSTEM
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.records import ConsoleLine, HistoryRow, RunFile, SystemSample
from dr_wandb.core.contract.run_files import described, is_left_out, is_wanting, run_file
from dr_wandb.core.contract.sample_columns import encode_samples
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.contract.values import clean_text, decode_json, spell_number

_R = TypeVar("_R", SystemSample, ConsoleLine, RunFile)

RawRows = Sequence[Mapping[str, Any]]

StoredRow = HistoryRow | SystemSample | ConsoleLine | RunFile


class Weight(NamedTuple):
    """How a received row counts. `stored`: it is a row; others are listed, and only counted.

    `wanting`: part of it did not come, so that the row does not count as received.
    """

    stored: bool = True
    wanting: bool = False


WHOLE = Weight()


class RowForm(NamedTuple):
    """The form of the rows of a dataset.

    encode: takes raw rows and the id of their run. decode: reads a line, as it is. decode_many:
    reads many lines given together, None if they do not all read. canonical: reads a line of any
    tool as we would write it; takes the version of the shape of rows, too. key: gives the sort key
    of a row. weigh: says how a line counts, None if every one does.
    """

    encode: Callable[[RawRows, str], EncodedRows]
    decode: Callable[[bytes], Result[Any, str]]
    decode_many: Callable[[bytes], Sequence[Any] | None]
    canonical: Callable[[bytes, int], Result[Any, str]]
    key: Callable[[Any], RowKey]
    weigh: Callable[[bytes], Weight] | None = None


_LINE = msgspec.json.Decoder(ConsoleLine)
_SAMPLE = msgspec.json.Decoder(SystemSample)
_FILE = msgspec.json.Decoder(RunFile)
_ENCODER = msgspec.json.Encoder(order="sorted")


def decode_console_line(line: bytes) -> Result[ConsoleLine, str]:
    """Decode one line of `console.jsonl`; the failure says what is wrong with it."""
    return _decode(_LINE, line)


def decode_console_lines(lines: Iterable[bytes]) -> Sequence[ConsoleLine] | None:
    """Decode lines of `console.jsonl`; None if one of them does not read."""
    return _decode_all(_LINE, lines)


def decode_sample(line: bytes) -> Result[SystemSample, str]:
    """Decode one line of `system.jsonl`; the failure says what is wrong with it."""
    return _decode(_SAMPLE, line)


def decode_samples(lines: Iterable[bytes]) -> Sequence[SystemSample] | None:
    """Decode lines of `system.jsonl`; None if one of them does not read."""
    return _decode_all(_SAMPLE, lines)


def decode_run_file(line: bytes) -> Result[RunFile, str]:
    """Decode one line of `files.jsonl`; the failure says what is wrong with it."""
    return _decode(_FILE, line)


def decode_run_files(lines: Iterable[bytes]) -> Sequence[RunFile] | None:
    """Decode lines of `files.jsonl`; None if one of them does not read."""
    return _decode_all(_FILE, lines)


def _decode(decoder: msgspec.json.Decoder[_R], line: bytes) -> Result[_R, str]:
    try:
        return Success(decoder.decode(line))
    except (ValueError, RecursionError) as error:
        return Failure(_why(error))


def _decode_all(decoder: msgspec.json.Decoder[_R], lines: Iterable[bytes]) -> Sequence[_R] | None:
    try:
        return list(map(decoder.decode, lines))
    except (ValueError, RecursionError):
        return None


def _decode_many(decoder: msgspec.json.Decoder[_R], lines: bytes) -> Sequence[_R] | None:
    try:
        return decoder.decode_lines(lines)
    except (ValueError, RecursionError):
        return None


def _why(error: Exception) -> str:
    return str(error) or "the line is nested too deeply to read"


def _canonical_console(line: bytes, row_shape: int) -> Result[ConsoleLine, str]:
    try:
        row = msgspec.convert(decode_json(line, "the line"), ConsoleLine)
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(_why(error))
    texts = {
        name: None if (text := getattr(row, name)) is None else clean_text(text)
        for name in ("run_id", "level", "label", "content")
    }
    timestamp = None if row.timestamp is None else normalize_time(row.timestamp)
    return Success(msgspec.structs.replace(row, timestamp=timestamp, **texts))


def _canonical_sample(line: bytes, row_shape: int) -> Result[SystemSample, str]:
    try:
        row = msgspec.convert(decode_json(line, "the line"), SystemSample)
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(_why(error))
    moment = moment_of(row.timestamp)
    again = system_sample({"_runtime": row.runtime, **row.metrics}, clean_text(row.run_id))
    timestamp = row.timestamp if moment is None else spell_number(moment)
    return Success(msgspec.structs.replace(again, timestamp=timestamp))


def _encode_files(raw_rows: RawRows, run_id: str) -> EncodedRows:
    rows = [run_file(raw_row, run_id) for raw_row in raw_rows]
    lines = _ENCODER.encode_lines(rows)
    return EncodedRows(lines, [None] * len(rows), [RowName(row.path) for row in rows])


def _canonical_file(line: bytes, row_shape: int) -> Result[RunFile, str]:
    try:
        row = msgspec.convert(decode_json(line, "the line"), RunFile)
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(_why(error))
    return Success(run_file(described(row), clean_text(row.run_id)))


def _weigh_file(line: bytes) -> Weight:
    row = _FILE.decode(line)
    return Weight(stored=not is_left_out(row), wanting=is_wanting(row))


HISTORY_FORM = RowForm(
    encode=encode_raw_rows,
    decode=decode_row,
    decode_many=decode_many_rows,
    canonical=canonical_row,
    key=lambda row: row_key(row.step, row.timestamp),
)

_FORMS = {
    SYSTEM: RowForm(
        encode=encode_samples,
        decode=decode_sample,
        decode_many=partial(_decode_many, _SAMPLE),
        canonical=_canonical_sample,
        key=lambda row: row_key(None, row.timestamp),
    ),
    CONSOLE: RowForm(
        encode=encode_console,
        decode=decode_console_line,
        decode_many=partial(_decode_many, _LINE),
        canonical=_canonical_console,
        key=lambda row: row_key(row.number, NO_TIME),
    ),
    FILES: RowForm(
        encode=_encode_files,
        decode=decode_run_file,
        decode_many=partial(_decode_many, _FILE),
        canonical=_canonical_file,
        key=lambda row: row_key(None, RowName(row.path)),
        weigh=_weigh_file,
    ),
}


def form_of(dataset: str) -> RowForm:
    """Return the form of the rows of a dataset."""
    return _FORMS.get(dataset, HISTORY_FORM)


def is_canonical(form: RowForm, line: bytes) -> bool:
    """Say whether a line that reads, in a form of its own, has the one spelling."""
    return form.canonical(line, 0).map(encode_line) == Success(line)
