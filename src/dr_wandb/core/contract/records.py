"""The records of an export: one run snapshot or one history row per line.

Rules
- Field names are those of dr-wandb 3.0.3; every field that it did not have has a default.
- Values are frozen. Mappings and lists inside are JSON-safe already (see normalize.py): a record
  never holds NaN, a null member of a history row, a lone surrogate or a non-string key.
- Constructors do not check types; decoding does (see codec.py).
"""

from typing import Any

import msgspec

SCHEMA_VERSION = 10
"""The newest version that is read. 1 is dr-wandb 3.0.3, 2 has an earlier row shape."""

FIRST_WITH_TABLES = 10
"""The version of an export with Parquet tables of samples or console lines."""

FIRST_WITH_FILES = 9
"""The version of an export that holds files of runs, or what is known of them."""

FIRST_WITH_DATASETS = 8
"""The version of an export that holds another dataset than the history."""

FIRST_WITH_PARQUET = 7
"""From this version on, an export has a Parquet form."""

FIRST_WITH_CELLS = 8
"""From this version on, digests of cells describe packs, and runs in Parquet alone."""

WITHOUT_PARQUET = 6
"""The version of an export that has neither: earlier builds continue it."""

FIRST_OF_OURS = 2
"""From this version on, files are in our form, with digests."""

FIRST_WITH_EVIDENCE = 4
"""From this version on, the state holds evidence for the standing of a run's rows."""

FIRST_WITH_PARTS = 5
"""From this version on, the state keeps what is known of a run's rows by dataset."""

FIRST_WITH_KINDS = 6
"""From this version on, each failure of a run has a kind beside its reason."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every public value: frozen, compared by content. Subclasses are keyword-only."""


class RunUser(Record, frozen=True, kw_only=True):
    """The person who created a run. `username` is the stable part."""

    username: str | None = None
    name: str | None = None


class WandbRun(Record, frozen=True, kw_only=True):
    """One W&B run in a JSON-safe shape.

    `run_id` is W&B's `name` (the id in its URL); `name` and `display_name` are the text that people
    see. Times are UTC, ISO 8601, ending in `Z`. `config` is unwrapped; the entries that W&B itself
    keeps in it (`_wandb`, `wandb_version`) are in `wandb_config`. `url` depends on SDK and host and
    is never part of the identity of a run. `metadata` is set only with `include_metadata`.
    """

    run_id: str
    name: str
    display_name: str | None = None
    entity: str
    project: str

    state: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    heartbeat_at: str | None = None

    storage_id: str | None = None
    project_id: str | None = None
    url: str | None = None
    path: list[str] | None = None

    tags: list[str] = msgspec.field(default_factory=list)
    group: str | None = None
    job_type: str | None = None
    sweep_name: str | None = None
    notes: str | None = None
    description: str | None = None
    commit: str | None = None
    user: RunUser | None = None
    read_only: bool | None = None

    config: dict[str, Any] = msgspec.field(default_factory=dict)
    wandb_config: dict[str, Any] = msgspec.field(default_factory=dict)
    summary_metrics: dict[str, Any] = msgspec.field(default_factory=dict)
    system_metrics: dict[str, Any] | None = None
    history_keys: dict[str, Any] | None = None
    history_line_count: int | None = None
    metadata: dict[str, Any] | None = None

    @property
    def history_keys_last_step(self) -> int | None:
        """Return `historyKeys.lastStep` if it is a real integer."""
        last_step = (self.history_keys or {}).get("lastStep")
        if isinstance(last_step, int) and not isinstance(last_step, bool):
            return last_step
        return None


SNAPSHOT_FIELDS = WandbRun.__struct_fields__
"""The fields of a snapshot. The state names them, so that a field which is added later is read for
the runs that are already held."""


def snapshot_order(created_at: str | None, run_id: str) -> tuple[str, str]:
    """Return the sort key of `runs.jsonl`: creation time, then id, for descending order.

    Without its `Z`, a time in our spelling sorts as an instant, whatever its fraction has.
    """
    return ((created_at or "").removesuffix("Z"), run_id)


class RunSnapshot(Record, frozen=True, kw_only=True):
    """One run as it was when last seen to differ, and the time of that (UTC, ISO 8601)."""

    run: WandbRun
    exported_at: str

    @property
    def sort_key(self) -> tuple[str, str]:
        """Return the key that `runs.jsonl` is ordered by, both parts descending."""
        return snapshot_order(self.run.created_at, self.run.run_id)


class HistoryRow(Record, frozen=True, kw_only=True, gc=False):
    """One row that a run logged.

    The garbage collector skips rows: they hold JSON, which never refers back to them. Visiting a
    million of them would take longer than reading them.

    `timestamp` is W&B's epoch seconds as text, exact: `float(row.timestamp)` gives the number back.
    `metrics` has the keys without a leading underscore, `extra` the others, and any of `_step`,
    `_timestamp`, `_runtime`, `_wandb` whose value had an unusable type.
    """

    run_id: str
    step: int | None = None
    timestamp: str | None = None
    runtime: int | float | None = None
    wandb_metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class SystemSample(Record, frozen=True, kw_only=True, gc=False):
    """One sample of the machine that a run is on, or of a part of it.

    `timestamp` is W&B's epoch seconds as text, exact, as that of a row. `runtime`: seconds since
    the start of the run. `metrics` has the values by name, such as `system.gpu.0.gpu`.
    """

    run_id: str
    timestamp: str | None = None
    runtime: int | float | None = None
    metrics: dict[str, Any] = msgspec.field(default_factory=dict)


class ConsoleLine(Record, frozen=True, kw_only=True, gc=False):
    """One line that a program printed.

    `number` counts the lines of the run, from 0. `timestamp` (UTC, ISO 8601) is when the line
    was started; W&B sets it when the line arrives there. `level` is "error" for standard error,
    `label` names the program if several write to the run.
    """

    run_id: str
    number: int
    timestamp: str | None = None
    level: str | None = None
    label: str | None = None
    content: str = ""


class RunFile(Record, frozen=True, kw_only=True, gc=False):
    """A file of a run, or what is known of it.

    `path` is its name, as W&B has it. `size` is in bytes, `md5` the base64 of its MD5 as W&B lists
    it; both may be unknown. `sha256` is the hex digest of the held bytes, which are in the file
    `blobs/sha256/`, the first two digits, `/`, the others. It is None if none are held; then
    `absent` says why. `newer`: why newer bytes are not held, if W&B has some; the other fields
    describe the held ones.
    """

    run_id: str
    path: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    mimetype: str | None = None
    updated_at: str | None = None
    absent: str | None = None
    newer: str | None = None
