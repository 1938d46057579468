"""Fold the records of a `.wandb` file into a run, one by one or many at once.

Rules
- Reading may stop at any record and continue from the fold that was made so far.
- Config and summary are kept as the server keeps them. wandb-core and the SDKs before it differ in
  this; a file without a producer is from one of the latter.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.offline.config import KEEPS_CHARTS, Config
from dr_wandb.core.offline.host import merge_into
from dr_wandb.core.offline.metrics import REPLACES_SUMMARIES, Metric, define, define_with_axis
from dr_wandb.core.offline.records import (
    Change,
    ConfigRecord,
    ExitRecord,
    HeaderRecord,
    HostRecord,
    MetricRecord,
    PreemptingRecord,
    RunFileRecord,
    RunRecord,
    SummaryRecord,
    SystemSample,
    TelemetryRecord,
)
from dr_wandb.core.offline.run import NOBODY, RunFold
from dr_wandb.core.offline.telemetry import RESUMED, core_version, has_feature, merged, sdk_version
from dr_wandb.core.offline.telemetry_fields import telemetry_of
from dr_wandb.core.offline.text import json_or_text
from dr_wandb.core.offline.tree import Leaf, Path, Tree, in_order


class RunFolding:
    """Folds records, from nothing or from the end of an earlier fold.

    stepless: the number of rows of the file without a step of their own.
    """

    def __init__(self, before: RunFold) -> None:
        self._fold = before
        self._config = Config(before.config_leaves, before.resumed_leaves)
        self._summary = Tree(before.summary_leaves)
        self._system = dict(before.system)
        self._telemetry: list[bytes] = []
        self._resumes = False
        self._environments = deepcopy(before.environments)
        self._metrics = {metric.name: metric for metric in before.metrics}
        self._globs = {glob.glob: glob for glob in before.globs}
        self._records = before.records
        self.stepless = before.stepless
        self._has_summary_record = before.tells_summary
        self._moment = before.moment

    def add(self, record: RunFileRecord) -> None:
        """Add one record that is not a row."""
        self._records += 1
        match record:
            case SummaryRecord(change=change):
                self._change_summary(change)
            case RunRecord():
                self._add_run(record)
            case ConfigRecord(change=change):
                self._config.change(change, leaf_by_leaf=self.is_of_core)
            case SystemSample(timestamp=timestamp, values=values):
                self._system.update(plain_form(dict(values)))
                self.see(timestamp)
            case HostRecord(metadata=metadata, writer_id=writer):
                merge_into(self._environments, {writer: metadata})
            case MetricRecord(metric=metric):
                self._define(metric)
            case HeaderRecord(producer=producer):
                self._fold = replace(self._fold, producer=producer)
            case ExitRecord():
                self._fold = replace(self._fold, exit=self._fold.exit or record)
            case TelemetryRecord(telemetry=raw):
                self._fold = replace(self._fold, tells_telemetry=True)
                self._telemetry.append(raw)
            case PreemptingRecord():
                self._fold = replace(self._fold, preempting=True)
            case _:
                pass

    def add_summaries(self, count: int, last: Mapping[Path, bytes]) -> None:
        """Add `count` changes of a summary by wandb-core, with the last text of each path."""
        self._records += count
        self._has_summary_record = True
        self._begin_summary()
        self._set_summary(last.items())

    def add_rows(self, steps: Sequence[int | None]) -> None:
        """Add rows by their steps."""
        if not steps:
            return
        self._begin_summary()
        self._records += len(steps)
        self._fold = fold = replace(self._fold, rows=self._fold.rows + len(steps))
        known = [step for step in steps if step is not None]
        if not known:
            return
        before = fold.last_step
        follows = before is not None and known[0] > before
        self._fold = replace(
            fold,
            last_step=max(known if before is None else (before, *known)),
            end_step=known[-1],
            follows=follows if fold.follows is None else fold.follows,
        )

    def see(self, moment: float | None) -> None:
        """Add a time from a record."""
        if moment is not None and math.isfinite(moment) and moment > (self._moment or 0.0):
            self._moment = moment

    def skip(self, count: int = 1) -> None:
        """Count records that cannot be read."""
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
        """Return the fold so far. Nothing may be added afterwards."""
        telemetry = merged(self._fold.telemetry, telemetry_of(self._telemetry))
        if self._resumes or has_feature(telemetry, RESUMED):
            keeps_charts = self.is_of_core or sdk_version(telemetry) >= KEEPS_CHARTS
            self._config.resume(keeps_charts=keeps_charts)
        return replace(
            self._fold,
            telemetry=telemetry,
            config_leaves=self._config.leaves,
            resumed_leaves=self._config.resumed_leaves,
            summary_leaves=in_order(self._summary_leaves()),
            tells_summary=self._has_summary_record,
            system=self._system,
            metrics=tuple(self._metrics.values()),
            globs=tuple(self._globs.values()),
            environments=dict(sorted(self._environments.items())),
            records=self._records,
            stepless=self.stepless,
            moment=self._moment,
        )

    def _add_run(self, record: RunRecord) -> None:
        fold = self._fold
        points = fold.branch_points
        if record.branch_point is not None and record.branch_point not in points:
            points = (*points, record.branch_point)
        if fold.is_new_file:
            self._config.begin(record.config, leaf_by_leaf=self.is_of_core)
        elif not fold.producer:
            self._config.change(record.config, leaf_by_leaf=False)
        said = {key: value for key, value in _members_of(record).items() if value}
        self._fold = replace(
            fold,
            run=replace(fold.run or NOBODY, **said),
            started_at=fold.started_at or record.started_at,
            branch_points=points,
            is_new_file=False,
        )
        self._telemetry.append(record.telemetry)
        self._resumes |= record.resumes

    def _define(self, metric: Metric) -> None:
        if not metric.name and not metric.glob:
            return  # an axis by itself
        known = self._metrics if metric.name else self._globs
        if metric.name and not self.is_of_core:
            define_with_axis(known, metric)
        else:
            adds = core_version(self._fold.producer) != REPLACES_SUMMARIES
            define(known, metric, adds_summaries=adds)

    def _change_summary(self, change: Change) -> None:
        """Change the summary. Its values are decoded at the end: most are set again and again."""
        self._has_summary_record = True
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
        """Drop the summary of an earlier file at the first row or summary record of this one."""
        if not self._fold.has_new_summary:
            earlier = () if self.is_of_core else in_order(self._summary.leaves())
            self._fold = replace(self._fold, has_new_summary=True, earlier_summary=earlier)
            self._summary = Tree()

    def _summary_leaves(self) -> list[Leaf]:
        decoded = [
            (path, plain_form(json_or_text(found)) if isinstance(found, bytes) else found)
            for path, found in self._summary.leaves()
        ]
        if not self._fold.producer:
            return decoded
        return [(path, value) for path, value in decoded if value is not None]


_STEP = ("_step",)
"""In a summary it is always the step of the last row."""


def _members_of(record: RunRecord) -> dict[str, Any]:
    names = (name for name in record.__struct_fields__ if name not in ("config", "telemetry"))
    return {name: getattr(record, name) for name in names}
