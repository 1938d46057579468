"""Load the artifacts of an export as frames: a line for each version, or for each entry."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from dr_wandb.core.columnar.artifacts import (
    ENTRY_COLUMNS,
    VERSION_COLUMNS,
    FieldType,
    entry_row,
    version_row,
)
from dr_wandb.core.contract.dataset import ARTIFACTS
from dr_wandb.shell.frames.engines import Engine, as_frame, require_engine
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.loading_records import require_records

ROWS_AT_ONCE = 5_000

_TYPES: Mapping[FieldType, pa.DataType] = {
    FieldType.BOOL: pa.bool_(),
    FieldType.INTEGER: pa.int64(),
    FieldType.TEXT: pa.string(),
    FieldType.TEXTS: pa.list_(pa.string()),
    FieldType.TIME: pa.timestamp("us", tz="UTC"),
    FieldType.JSON: pa.string(),
    FieldType.USES: pa.list_(pa.struct({"run_id": pa.string(), "used_as": pa.string()})),
}


def load_artifacts_frame(
    name: str,
    data_root: str | PathLike[str],
    *,
    entries: bool = False,
    engine: Engine = "polars",
) -> Any:
    """Load the artifact versions of an export as a frame, by collection and version: one line each.

    The columns are the fields of a version (docs/format.md), except its entries. Times are
    timestamps in UTC, `metadata` is its JSON text, and `used_by` is a list of structs.

    entries: a line for each entry of a manifest instead, by version and path, with the columns
    collection, version, artifact_id, path, digest, algorithm, size and reference.
    engine: "polars", "pandas" or "arrow".

    Raises ExportNotFoundError without an export, InvalidRequestError if it holds no artifacts, and
    ModuleNotFoundError without the engine.
    """
    require_engine(engine)
    store = ExportStore(name=name, data_root=Path(data_root))
    require_records(store, ARTIFACTS)
    if entries:
        of_entries = (entry_row(*pair) for pair in store.iter_artifact_entries())
        return as_frame(_table(of_entries, ENTRY_COLUMNS), engine)
    versions = map(version_row, store.iter_artifacts(entries=False))
    return as_frame(_table(versions, VERSION_COLUMNS), engine)


def _table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, FieldType]) -> pa.Table:
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    return pa.Table.from_batches(_batches(iter(rows), schema), schema)


def _batches(rows: Iterator[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, schema)
