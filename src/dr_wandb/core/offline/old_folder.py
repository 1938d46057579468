"""Run folders from before `.wandb` files (SDK 0.9 and older): the files beside the history.

Rules (measured with SDK 0.8.36 and 0.9.7)
- `run-<time>-<id>`, or `dryrun-...` if nothing was uploaded, holds `wandb-history.jsonl`,
  `wandb-events.jsonl`, `wandb-summary.json`, `config.yaml` and `wandb-metadata.json`. Only the name
  of the folder has the id, which may hold a `-`; the time is in the machine's time zone.
- A resumed session has a folder of its own. Its config is the whole config; its history begins with
  the last row of the session before, which counts once.
- `exitcode` says how the process ended. Without it, the process was killed, or is still running.
- Values of another kind than the SDK writes are skipped.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import ExitRecord, RunRecord, SystemSample
from dr_wandb.core.offline.run import NOBODY, RunFold
from dr_wandb.core.offline.steps import moment_of, step_of
from dr_wandb.core.offline.tree import Leaf

HISTORY, EVENTS = "wandb-history.jsonl", "wandb-events.jsonl"
SUMMARY, CONFIG, METADATA = "wandb-summary.json", "config.yaml", "wandb-metadata.json"
BESIDE = frozenset({EVENTS, SUMMARY, CONFIG, METADATA})

_FOLDER = re.compile(r"(?:dry)?run-(\d{8}_\d{6})-(.+)", re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 255}

Members = Mapping[str, Any]


class Beside(NamedTuple):
    """The files beside a history, decoded; None for one that is missing or cannot be read.

    sample: the last line of the events. remarks: why a file cannot be read, each beginning with its
    name.
    """

    metadata: Members | None = None
    config: Members | None = None
    summary: Members | None = None
    sample: Members | None = None
    remarks: tuple[str, ...] = ()


def name_run(folder: str, metadata: Members | None) -> RunRecord:
    """Return the names of a run, from the name of its folder and its metadata."""
    named = _FOLDER.fullmatch(folder)
    metadata = metadata or {}
    git = metadata.get("git")
    return RunRecord(
        run_id=folder if named is None else named[2],
        project=_text(metadata, "project"),
        display_name=_text(metadata, "name"),
        notes=_text(metadata, "notes"),
        job_type=_text(metadata, "jobType"),
        commit=_text(git, "commit") if isinstance(git, Mapping) else "",
        started_at=_moment(metadata.get("startedAt"))
        or (None if named is None else _moment(named[1].replace("_", "T"))),
    )


def repeats(row: Members, fold: RunFold, metadata: Members | None) -> bool:
    """Say whether the first row of a folder is the last one of the session before.

    fold: the earlier folders of the run. Such a row was logged before this process started. If no
    metadata says when that was, it is the row that the run ended with.
    """
    step, moment = step_of(row), moment_of(row)
    if not fold.rows or fold.last_step is None or step is None or moment is None:
        return False
    started_at = _moment((metadata or {}).get("startedAt"))
    if started_at is None:
        return step == fold.end_step and moment <= (fold.moment or 0.0)
    return moment < started_at[0] + started_at[1] / 1e9 and step <= fold.last_step


def with_beside(reading: FileReading, named: RunRecord, beside: Beside) -> FileReading:
    """Add what the files beside a history say to the reading of its rows."""
    fold = reading.fold
    said = {key: value for key in _NAMES if (value := getattr(named, key))}
    fold = replace(
        fold,
        producer="",
        run=replace(fold.run or NOBODY, **said),
        started_at=fold.started_at or named.started_at,
        is_new_file=False,
        records=fold.records + fold.is_new_file,
        exit=_exit(beside.metadata or {}),
        preempting=False,
    )
    moments = [fold.moment, _heartbeat(beside.metadata or {})]
    if beside.config is not None:
        fold = replace(fold, config_leaves=_leaves(_values(beside.config)))
    if beside.summary is not None:
        fold = replace(fold, summary_leaves=_leaves(beside.summary))
    if beside.sample is not None:
        fold = replace(fold, system=dict(sample_of(beside.sample).values))
        moments.append(moment_of(beside.sample))
    moment = max((moment for moment in moments if moment is not None), default=None)
    return replace(reading, fold=replace(fold, moment=moment), remarks=beside.remarks)


def sample_of(line: Members) -> SystemSample:
    """Return a line of the events as a sample of the machine."""
    values = {key: value for key, value in line.items() if key.startswith("system.")}
    return SystemSample(timestamp=moment_of(line), values=plain_form(values))


_NAMES = [name for name in RunRecord.__struct_fields__ if name != "config"]


def _values(config: Members) -> dict[str, Any]:
    """Return the values of a config, without the descriptions beside them."""
    return {
        key: entry["value"] if isinstance(entry, Mapping) and "value" in entry else entry
        for key, entry in config.items()
    }


def _leaves(members: Members) -> tuple[Leaf, ...]:
    plain = plain_form(dict(members))
    return tuple(((key,), plain[key]) for key in sorted(plain))


def _exit(metadata: Members) -> ExitRecord | None:
    code = metadata.get("exitcode")
    if type(code) is not int or abs(code) >= 1 << 31:
        state = metadata.get("state")
        code = _EXIT_CODES.get(state) if isinstance(state, str) else None
    return None if code is None else ExitRecord(exit_code=code)


def _heartbeat(metadata: Members) -> float | None:
    moment = _moment(metadata.get("heartbeatAt"))
    return None if moment is None else float(moment[0])


def _text(members: Members, key: str) -> str:
    value = members.get(key)
    return clean_text(value) if isinstance(value, str) else ""


def _moment(text: Any) -> tuple[int, int] | None:
    """Return a time in epoch seconds and nanoseconds; one without a time zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        since = moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400 + since.seconds, since.microseconds * 1000
