"""The names of the files of an export, and the order in which a commit puts them in place."""

import re
from collections.abc import Collection, Iterable

from dr_wandb.core.contract.dataset import DATASETS, FILES, HISTORY, PROJECT_DATASETS, TABLES
from dr_wandb.core.contract.records import (
    FIRST_WITH_CELLS,
    FIRST_WITH_DATASETS,
    FIRST_WITH_FILES,
    FIRST_WITH_TABLES,
    WITHOUT_PARQUET,
)

JSONL, PARQUET = "jsonl", "parquet"
FORMATS = (JSONL, PARQUET)
"""The forms in which an export may have its rows."""

RUNS_FILE = "runs.jsonl"
HISTORY_FILE = DATASETS[HISTORY].file
CHANGES_FILE = "changes.jsonl"
MANIFEST_FILE = "manifest.json"
STATE_FILE = "state.json"
STORE_FILE = ".tracked.sqlite"
CHANGES_OF_STORE_FILE = ".tracked.json"

PARQUET_FOLDER = "parquet"
PARQUET_HISTORY = f"{PARQUET_FOLDER}/history"
"""The folder of the Parquet files of the history, of which `columnar.files` chooses the names."""

PARQUET_RUNS = f"{PARQUET_FOLDER}/runs.parquet"

TABLE_FOLDERS = tuple(f"{PARQUET_FOLDER}/{dataset}" for dataset in TABLES)
"""The folders of the tables of other datasets, whose files are packs of the same names."""

PARQUET_FOLDERS = (PARQUET_FOLDER, PARQUET_HISTORY, *TABLE_FOLDERS)
"""All folders of Parquet files, each after the one that it is in."""

_PACK = r"(?:[0-9]{4}-(?:0[1-9]|1[0-2])|unknown)-"
_HISTORY_NAME = re.compile(
    rf"{PARQUET_HISTORY}/{_PACK}(?:[0-9a-f]|(?P<own>run-[0-9a-f]{{32}}-[0-9]{{4,8}}))\.parquet"
)
_TABLE_NAME = re.compile(rf"(?:{'|'.join(TABLE_FOLDERS)})/{_PACK}[0-9a-f]\.parquet")


BLOBS_FOLDER = "blobs/sha256"
"""The folder of the bytes of files, each under a name that is made of the digest of its bytes."""


def file_order() -> tuple[str, ...]:
    """Return the names of all visible files of an export, in the order of a commit.

    Those of `PARQUET_FOLDER` are not among them.
    """
    of_datasets = (dataset.file for dataset in DATASETS.values())
    return (*of_datasets, *record_files(), RUNS_FILE, CHANGES_FILE, MANIFEST_FILE, STATE_FILE)


def record_files() -> tuple[str, ...]:
    """Return the names of the data files of the project's datasets."""
    return tuple(dataset.file for dataset in PROJECT_DATASETS.values())


def version_for(files: Collection[str]) -> int:
    """Return the schema version of an export with these files, the oldest that fits them."""
    if any(map(is_table, files)):
        return FIRST_WITH_TABLES
    if DATASETS[FILES].file in files:
        return FIRST_WITH_FILES
    if holds_others(files):
        return FIRST_WITH_DATASETS
    return FIRST_WITH_CELLS if any(map(is_parquet, files)) else WITHOUT_PARQUET


def holds_others(names: Iterable[str]) -> bool:
    """Say whether files of these names hold a dataset other than the history."""
    files = {*record_files(), *(dataset.file for dataset in DATASETS.values())}
    return not files.isdisjoint({*names} - {HISTORY_FILE})


def commit_order() -> tuple[str, ...]:
    """Return the names of all files with a fixed name that a commit may replace, in its order."""
    *data, state = file_order()
    return (PARQUET_RUNS, *data, STORE_FILE, CHANGES_OF_STORE_FILE, state)


def is_parquet_history(name: str) -> bool:
    """Say whether a name, relative to the export, can be that of a Parquet file of the history."""
    return _HISTORY_NAME.fullmatch(name) is not None


def is_table(name: str) -> bool:
    """Say whether a name, relative to the export, can be that of a file of a dataset's table."""
    return _TABLE_NAME.fullmatch(name) is not None


def table_folder(dataset: str) -> str:
    """Return the folder of the table of a dataset."""
    return f"{PARQUET_FOLDER}/{dataset}"


def is_committed(name: str) -> bool:
    """Say whether a commit may replace or remove a file of this name, relative to the export."""
    return name in commit_order() or is_parquet(name)


def in_commit_order(names: Iterable[str]) -> list[str]:
    """Return names in the order of a commit: packs, own files of runs, then the others."""
    order = {name: number for number, name in enumerate(commit_order())}
    return sorted(names, key=lambda name: (order.get(name, -1), _is_own(name), name))


def _is_own(name: str) -> bool:
    found = _HISTORY_NAME.fullmatch(name)
    return found is not None and found["own"] is not None


def is_parquet(name: str) -> bool:
    """Say whether a name, relative to the export, can be that of any of its Parquet files."""
    return name == PARQUET_RUNS or is_parquet_history(name) or is_table(name)
