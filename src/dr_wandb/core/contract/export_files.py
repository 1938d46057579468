"""The names of the files of an export, and the order in which a commit renames them."""

from dr_wandb.core.contract.dataset import DATASETS, HISTORY

RUNS_FILE = "runs.jsonl"
HISTORY_FILE = DATASETS[HISTORY].file
CHANGES_FILE = "changes.jsonl"
MANIFEST_FILE = "manifest.json"
STATE_FILE = "state.json"
STORE_FILE = ".tracked.sqlite"
CHANGES_OF_STORE_FILE = ".tracked.json"


def file_order() -> tuple[str, ...]:
    """Return the names of all visible files of an export, in the order of a commit."""
    of_datasets = (dataset.file for dataset in DATASETS.values())
    return (*of_datasets, RUNS_FILE, CHANGES_FILE, MANIFEST_FILE, STATE_FILE)


def commit_order() -> tuple[str, ...]:
    """Return the names of all files that a commit may replace, in its order."""
    *data, state = file_order()
    return (*data, STORE_FILE, CHANGES_OF_STORE_FILE, state)
