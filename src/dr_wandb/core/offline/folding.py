"""Fold the records of a `.wandb` file into a run, one by one or many at once.

Rules
- Reading may stop at any record and go on from the fold that was made so far.
- Config and summary are kept as the server keeps them, which wandb-core and the SDKs before it do
  in different ways: a file without a producer is of the latter.
- A later file that resumes its run keeps the earlier config. Its run record says so (SDK 0.30 and
  later), or a telemetry record that comes after it: until then the config is kept both ways.
"""

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.plain import plain_form
from dr_wandb.core.contract.row_shape import OWN_METADATA
from dr_wandb.core.contract.streams import SystemSample
from dr_wandb.core.offline.records import (
    Change,
    ConfigRecord,
    ExitRecord,
    HeaderRecord,
    HostRecord,
    PreemptingRecord,
    RunFileRecord,
    RunRecord,
    SummaryRecord,
    TelemetryRecord,
    json_or_text,
)
from dr_wandb.core.offline.run import NOBODY, UNKNOWN_PRODUCER, RunFold
from dr_wandb.core.offline.telemetry import (
    RESUMED,
    Telemetry,
    has_feature,
    merged,
    sdk_version,
)
from dr_wandb.core.offline.tree import Leaf, Path, Tree


def behind(before: RunFold) -> RunFold:
    """Return the fold with which a further file of a run is begun: the run is alive again."""
    return replace(
        before,
        producer=UNKNOWN_PRODUCER,
        exit=None,
        preempting=False,
        is_new_file=True,
        has_new_summary=False,
        telemetry={},
        resumed_leaves=None,
    )


class Folder:
    """Folds records, from nothing or from where an earlier fold ended."""

    def __init__(self, before: RunFold) -> None:
        self._fold = before
        self._config = Tree(before.config_leaves)
        self._resumed = None if before.resumed_leaves is None else Tree(before.resumed_leaves)
        self._summary = Tree(before.summary_leaves)
        self._system = dict(before.system)
        self._host = deepcopy(before.host)
        self._records = before.records
        self._summaries = before.summaries
        self._moment = before.moment

    def add(self, record: RunFileRecord) -> None:
        """Take one record that is not a row."""
        self._records += 1
        match record:
            case SummaryRecord(change=change):
                self._change_summary(change)
            case RunRecord():
                self._add_run(record)
            case ConfigRecord(change=change):
                self._change_config(change)
            case SystemSample(timestamp=timestamp, values=values):
                self._system.update(plain_form(dict(values)))
                self.see(timestamp)
            case HostRecord(metadata=metadata):
                _merge(self._host, metadata)
            case HeaderRecord(producer=producer):
                self._fold = replace(self._fold, producer=producer)
            case ExitRecord():
                self._fold = replace(self._fold, exit=self._fold.exit or record)
            case TelemetryRecord(telemetry=telemetry):
                self._add_telemetry(telemetry)
            case PreemptingRecord():
                self._fold = replace(self._fold, preempting=True)
            case _:
                pass

    def add_summaries(self, count: int, last: Mapping[Path, bytes]) -> None:
        """Take changes of a summary of wandb-core: how many, and the last text of each path."""
        self._records += count
        self._summaries += count
        self._begin_summary()
        self._set_summary(last.items())

    def add_rows(self, count: int, highest: int | None, end: int | None) -> None:
        """Take rows: how many, the highest step among them, and that of the last that has one."""
        if not count:
            return
        self._begin_summary()
        self._records += count
        fold = self._fold
        steps = [step for step in (fold.last_step, highest) if step is not None]
        self._fold = replace(
            fold,
            rows=fold.rows + count,
            last_step=max(steps, default=None),
            end_step=fold.end_step if end is None else end,
        )

    def see(self, moment: float | None) -> None:
        """Take a time that a record names."""
        if moment is not None and math.isfinite(moment) and moment > (self._moment or 0.0):
            self._moment = moment

    def skip(self, count: int = 1) -> None:
        """Count records that do not read."""
        self._fold = replace(self._fold, unreadable=self._fold.unreadable + count)

    @property
    def is_of_core(self) -> bool:
        """Say whether wandb-core wrote the file."""
        return bool(self._fold.producer)

    @property
    def last_step(self) -> int | None:
        """Return the highest step so far."""
        return self._fold.last_step

    @property
    def end_step(self) -> int | None:
        """Return the step of the last row so far."""
        return self._fold.end_step

    @property
    def fold(self) -> RunFold:
        """Return what was folded so far. Nothing may be added afterwards."""
        return replace(
            self._fold,
            config_leaves=_sorted(self._config.leaves()),
            resumed_leaves=None if self._resumed is None else _sorted(self._resumed.leaves()),
            summary_leaves=_sorted(self._summary_leaves()),
            summaries=self._summaries,
            system=self._system,
            host=self._host,
            records=self._records,
            moment=self._moment,
        )

    def _add_run(self, record: RunRecord) -> None:
        fold = self._fold
        points = fold.branch_points
        if record.branch_point is not None and record.branch_point not in points:
            points = (*points, record.branch_point)
        if fold.is_new_file:
            self._begin_config(record)
        elif not fold.producer:
            self._change_config(record.config)
        said = {key: value for key, value in _members_of(record).items() if value}
        self._fold = replace(
            fold,
            run=replace(fold.run or NOBODY, **said),
            started_at=fold.started_at or record.started_at,
            branch_points=points,
            is_new_file=False,
        )
        self._add_telemetry(record.telemetry)

    def _begin_config(self, record: RunRecord) -> None:
        """Begin the config of a file; if it resumes the run, what it does not set stays."""
        earlier = tuple(self._config.leaves())
        self._config, self._resumed = Tree(), None
        self._change_config(record.config)
        if earlier:
            own = {path[0] for path, _ in self._config.leaves()} | {OWN_METADATA}
            kept = (leaf for leaf in earlier if leaf[0][0] not in own or leaf[0][:2] in _CHARTS)
            self._resumed = Tree([*kept, *self._config.leaves()])
        if record.resumes or has_feature(self._fold.telemetry, RESUMED):
            self._resume()

    def _resume(self) -> None:
        """Take the config as that of a resumed run."""
        if self._resumed is None:
            return
        own = [leaf for leaf in self._config.leaves() if leaf[0][0] == OWN_METADATA]
        self._config, self._resumed = self._resumed, None
        if not self.is_of_core and sdk_version(self._fold.telemetry) < KEEPS_CHARTS:
            self._config.remove((OWN_METADATA,))
            for path, value in own:
                self._config.set(path, value)

    def _change_config(self, change: Change) -> None:
        said = [(path, plain_form(json_or_text(text))) for path, text in change.set]
        for config in (self._config, self._resumed):
            if config is None:
                continue
            for path, value in said:
                leaves = self._fold.producer or path == (OWN_METADATA,)
                (config.spread if leaves else config.set)(path, value)
            for path in change.removed:
                config.remove(path)

    def _add_telemetry(self, telemetry: Telemetry) -> None:
        if telemetry:
            self._fold = replace(self._fold, telemetry=merged(self._fold.telemetry, telemetry))
        if has_feature(telemetry, RESUMED):
            self._resume()

    def _change_summary(self, change: Change) -> None:
        """Change the summary. Its values are decoded at the end: most are set again and again."""
        self._summaries += 1
        self._begin_summary()
        if not self._fold.producer:
            self._summary = Tree()  # each record is the whole summary
        self._set_summary(change.set)
        for path in change.removed:
            self._summary.remove(path)

    def _set_summary(self, texts: Iterable[tuple[Path, bytes]]) -> None:
        for path, text in texts:
            if path != _STEP:
                self._summary.set(path, text)

    def _begin_summary(self) -> None:
        """Forget the summary of an earlier file when this one has something to say."""
        if not self._fold.has_new_summary:
            self._fold = replace(self._fold, has_new_summary=True)
            self._summary = Tree()

    def _summary_leaves(self) -> list[Leaf]:
        decoded = [
            (path, plain_form(json_or_text(found)) if isinstance(found, bytes) else found)
            for path, found in self._summary.leaves()
        ]
        if not self._fold.producer:
            return decoded
        return [(path, value) for path, value in decoded if value is not None]


_CHARTS = frozenset((OWN_METADATA, key) for key in ("visualize", "viz", "mask/class_labels"))
"""What stays of `_wandb` in the config of a resumed run: all else is told by each session."""

KEEPS_CHARTS = (0, 16)
"""The first version of W&B's Python client that kept the charts of a run that it resumed."""

_STEP = ("_step",)
"""In the summary always the step of the last row."""


def _members_of(record: RunRecord) -> dict[str, Any]:
    names = (name for name in record.__struct_fields__ if name not in ("config", "telemetry"))
    return {name: getattr(record, name) for name in names}


def _merge(known: dict[str, Any], told: Any) -> None:
    """Merge what is told of a machine, member by member."""
    for key, value in told.items():
        inner = known.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            _merge(inner, value)
        else:
            known[key] = deepcopy(value)


def _sorted(leaves: Iterable[Leaf]) -> tuple[Leaf, ...]:
    return tuple(sorted(leaves, key=_path_of))


def _path_of(leaf: Leaf) -> Path:
    return leaf[0]
