"""Encode records as bytes, and decode them.

Rules
- One record per line, keys sorted at every depth, UTF-8, no white space, one newline at its end.
- Equal records have equal bytes; decode(encode(x)) == x for every record that normalize.py makes.
- Files of dr-wandb 3.0.3 are read into our form: numbers lose their trailing `.0`, its `"<User u>"`
  becomes a user, times get their `Z`.
- Decoding gives a Result: stored bytes can be anything.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.normalize import normalize_time, reshape_row
from dr_wandb.core.contract.records import (
    SNAPSHOT_FIELDS,
    HistoryRow,
    Record,
    RunSnapshot,
    WandbRun,
)
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.values import MAX_DEPTH, decode_json, json_safe, spell_number

_ENCODER = msgspec.json.Encoder(order="sorted")
_ROW = msgspec.json.Decoder(HistoryRow)
_SNAPSHOT = msgspec.json.Decoder(RunSnapshot)
_CHANGES = msgspec.json.Decoder(SyncChanges)


class _RowHead(msgspec.Struct):
    """The members of a line that give its run and its sort key."""

    run_id: str
    step: int | None = None
    number: int | None = None
    timestamp: str | None = None
    path: str | None = None


class _SnapshotFields(msgspec.Struct):
    """The names in a snapshot."""

    run: dict[str, msgspec.Raw]


_FIELDS = msgspec.json.Decoder(_SnapshotFields)
_HEAD = msgspec.json.Decoder(_RowHead)

_OTHER_FORM = (b"null", b".0,", b".0]", b".0}")
"""Bytes that our encoder keeps, but that a line in our form never or not always has."""

_OWN_KEYS = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})

_MOVED_NAMES = re.compile(rb'"_(?:wandb\.|step")')
"""Names in `extra` of earlier shapes that are in other members of a row now. A pattern that begins
with plain bytes is found faster than bytes are."""

_R = TypeVar("_R", bound=Record)

NO_TIME = "0"
"""Stands for the time of a numbered row, which is known by its number alone."""


class RowName(str):
    """Stands for the time of a row that is known by its name alone, which this is."""

    __slots__ = ()


RowKey = tuple[bool, int, bool, Any]
"""Orders the rows of one run: by step, then timestamp as numbers; missing ones come last. Rows of a
dataset that knows them by name have no step, and the name in place of the time."""


def encode_line(record: Record | Mapping[str, Any]) -> bytes:
    """Encode one record as one line."""
    return _ENCODER.encode(record) + b"\n"


def encode_lines(records: Sequence[HistoryRow]) -> bytes:
    """Encode many records, each as `encode_line` does."""
    return _ENCODER.encode_lines(records)


def encode_document(record: Record | Mapping[str, Any]) -> bytes:
    """Encode a manifest, a state or a summary: sorted, indented by two, a newline at the end."""
    return msgspec.json.format(_ENCODER.encode(record), indent=2) + b"\n"


def row_key(step: int | None, timestamp: str | None) -> RowKey:
    """Return the sort key of a row among the rows of its run. Timestamps compare as numbers."""
    if type(timestamp) is RowName:
        return (True, 0, False, str(timestamp))
    moment = moment_of(timestamp)
    return (step is None, step or 0, moment is None, moment if moment is not None else 0)


def moment_of(timestamp: str | None) -> int | float | None:
    """Return the number that a timestamp spells, None if it spells no finite one."""
    if timestamp is None:
        return None
    if "." not in timestamp:
        with suppress(ValueError):
            return int(timestamp)
    try:
        moment = float(timestamp)
    except ValueError:
        return None
    return moment if math.isfinite(moment) else None


def locate(line: bytes) -> tuple[str, int | None, str | None]:
    """Return run id, step and timestamp of a stored line, without decoding its metrics.

    Of a numbered line they are its run id, its number and `NO_TIME`, of one that is known by a name
    its run id, no step and its `RowName`.
    """
    head = _HEAD.decode(line)
    if head.number is not None:
        return head.run_id, head.number, NO_TIME
    if head.path is not None:
        return head.run_id, None, RowName(head.path)
    return head.run_id, head.step, head.timestamp


def run_and_key(line: bytes) -> tuple[str, RowKey]:
    """Return the run id and the sort key of a stored line, without decoding its metrics."""
    run_id, step, timestamp = locate(line)
    return run_id, row_key(step, timestamp)


def decode_row(line: bytes) -> Result[HistoryRow, str]:
    """Decode one line of `history.jsonl`; the failure says what is wrong with it."""
    try:
        return Success(_ROW.decode(line))
    except (ValueError, RecursionError):
        return _convert(line, HistoryRow, _modern_row)


def decode_snapshot(line: bytes) -> Result[RunSnapshot, str]:
    """Decode one line of `runs.jsonl`; the failure says what is wrong with it."""
    try:
        return Success(_SNAPSHOT.decode(line))
    except (ValueError, RecursionError):
        return _convert(line, RunSnapshot, _modern_snapshot)


def raw_row_of(row: HistoryRow) -> dict[str, Any] | None:
    """Return a stored row as a source would give it, None if no source could give it."""
    moment = moment_of(row.timestamp)
    if (moment is None) != (row.timestamp is None):
        return None
    if not (_OWN_KEYS.isdisjoint(row.extra) and _OWN_KEYS.isdisjoint(row.metrics)):
        return None
    return {
        "_step": row.step,
        "_timestamp": moment,
        "_runtime": row.runtime,
        "_wandb": row.wandb_metadata or None,
        **row.metrics,
        **row.extra,
    }


def decode_rows(lines: Iterable[bytes]) -> Sequence[HistoryRow] | None:
    """Decode lines of `history.jsonl`; None if each of them needs `decode_row`."""
    try:
        return list(map(_ROW.decode, lines))
    except (ValueError, RecursionError):
        return None


def decode_many_rows(lines: bytes) -> Sequence[HistoryRow] | None:
    """Decode lines of `history.jsonl`, given together; None if each of them needs `decode_row`."""
    try:
        return _ROW.decode_lines(lines)
    except (ValueError, RecursionError):
        return None


def decode_snapshots(lines: Iterable[bytes]) -> Sequence[RunSnapshot] | None:
    """Decode lines of `runs.jsonl`; None if each of them needs `decode_snapshot`."""
    try:
        return list(map(_SNAPSHOT.decode, lines))
    except (ValueError, RecursionError):
        return None


def decode_changes(line: bytes) -> Result[SyncChanges, str]:
    """Decode one line of `changes.jsonl`; the failure says what is wrong with it."""
    try:
        return Success(_CHANGES.decode(line))
    except (ValueError, RecursionError) as error:
        return Failure(str(error) or "the line is nested too deeply to read")


def canonical_row(line: bytes, row_shape: int = ROW_SHAPE) -> Result[HistoryRow, str]:
    """Decode a line that another tool may have written into the form that we would write.

    row_shape: the version of the shape that the row gets, see row_shape.py.
    """
    if row_shape >= 2 and not has_shape(line):
        return _convert(line, HistoryRow, _modern_row).map(reshape_row)
    row = _as_written(line)
    return _convert(line, HistoryRow, _modern_row) if row is None else Success(row)


def has_shape(lines: bytes) -> bool:
    """Say whether stored lines certainly have the present shape, from a quick scan.

    If so, their only objects are the four that each row is made of. A brace in a text counts as
    one.
    """
    return lines.count(b"{") == 4 * lines.count(b"\n") and not _MOVED_NAMES.search(lines)


def missing_fields(line: bytes) -> tuple[str, ...]:
    """Return the fields of a run that a stored snapshot was made without.

    The line must read as a snapshot.
    """
    return tuple(sorted({*SNAPSHOT_FIELDS} - _FIELDS.decode(line).run.keys()))


def canonical_snapshot(line: bytes) -> Result[RunSnapshot, str]:
    """Decode a snapshot that another tool may have written into the form that we would write."""
    return _convert(line, RunSnapshot, _modern_snapshot)


def encode_run(run: WandbRun) -> bytes:
    """Encode a run as it is in its snapshot."""
    return _ENCODER.encode(run)


def encode_snapshot(encoded_run: bytes, exported_at: str) -> bytes:
    """Return the line of a snapshot whose run is encoded already."""
    return b'{"exported_at":%b,"run":%b}\n' % (_ENCODER.encode(exported_at), encoded_run)


def fingerprint(run: WandbRun) -> str:
    """Return a digest of a run without its `url`, which depends on SDK and host."""
    return digest(_ENCODER.encode(msgspec.structs.replace(run, url=None)))


def fingerprint_encoded(encoded: bytes, run: WandbRun) -> str:
    """Return the fingerprint of a run that is encoded already.

    Text elsewhere in the run that looks like the url, such as in the config, is kept.
    """
    url = b'"url":%b' % _ENCODER.encode(run.url)
    start = encoded.find(url)
    end = start + len(url)
    if start < 0 or encoded.find(url, end) >= 0:
        return fingerprint(run)
    whole = memoryview(encoded)  # a run may be large: no copies
    return digest(whole[:start], b'"url":null', whole[end:])


def digest(*parts: bytes | memoryview) -> str:
    """Return the digest that state files hold: 128 bits of BLAKE2b, in hex.

    Several parts give the digest of their concatenation.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def _as_written(line: bytes) -> HistoryRow | None:
    """Return the row of a line that is in our form; None if it may be in another one.

    This saves most of the time that visiting each value takes, as the encoder has one spelling.
    """
    if any(sign in line for sign in _OTHER_FORM) or line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        return None
    try:
        row = _ROW.decode(line)
    except (ValueError, RecursionError):
        return None
    moment = moment_of(row.timestamp)
    spelled = row.timestamp if moment is None else spell_number(moment)
    return row if spelled == row.timestamp and encode_line(row) == line else None


def _convert(
    line: bytes, kind: type[_R], modern: Callable[[dict[str, Any]], dict[str, Any]]
) -> Result[_R, str]:
    try:
        value = decode_json(line, "the line")
        if not isinstance(value, dict):
            return Failure("the line is not an object")
        return Success(msgspec.convert(modern(value), kind))
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(str(error) or "the line is nested too deeply to read")


def _modern_row(value: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = json_safe(value, drop_nulls=True, depth=-1)
    timestamp = row.get("timestamp")
    moment = moment_of(timestamp if isinstance(timestamp, str) else None)
    if moment is not None:
        row["timestamp"] = spell_number(moment)
    elif type(timestamp) in (int, float):
        row["timestamp"] = spell_number(timestamp)  # type: ignore[arg-type]
    return row


def _modern_snapshot(value: dict[str, Any]) -> dict[str, Any]:
    snapshot: dict[str, Any] = json_safe(value, depth=-2)
    snapshot["exported_at"] = normalize_time(snapshot.get("exported_at"))
    run = snapshot.get("run")
    if isinstance(run, dict):
        for field in ("created_at", "updated_at", "heartbeat_at"):
            run[field] = normalize_time(run.get(field))
        user = run.get("user")
        if isinstance(user, str):
            run["user"] = {"username": user.removeprefix("<User ").removesuffix(">")}
    return snapshot
