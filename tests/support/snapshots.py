"""Snapshots of runs with any values, and the lines of them."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.records import RunSnapshot, RunUser, WandbRun
from dr_wandb.core.contract.values import json_safe
from tests.support.strategies import clean_texts, json_values, texts


def snapshot(run_id: str = "run", **fields: Any) -> RunSnapshot:
    """Return the snapshot of a run; `fields` are those of WandbRun."""
    named = {"name": run_id, "entity": "entity", "project": "project"} | fields
    run = WandbRun(run_id=run_id, **named)
    return RunSnapshot(run=run, exported_at="2026-11-29T12:00:00Z")


def lines_of_snapshots(snapshots: Iterable[RunSnapshot]) -> bytes:
    """Return a `runs.jsonl`."""
    return b"".join(map(encode_line, snapshots))


_names = st.sampled_from(["loss", "Loss", "LOSS", "a", "a.b", "b", "", "_type", "\x00"]) | texts
_objects = st.dictionaries(
    _names, json_values | st.dictionaries(_names, json_values, max_size=2), max_size=4
).map(json_safe)
_times = st.none() | st.datetimes().map(lambda time: f"{time.isoformat()}Z") | clean_texts

any_snapshots = st.builds(
    snapshot,
    run_id=clean_texts,
    display_name=st.none() | clean_texts,
    created_at=_times,
    heartbeat_at=_times,
    path=st.none() | st.lists(clean_texts, max_size=3),
    tags=st.lists(clean_texts, max_size=3),
    user=st.none() | st.builds(RunUser, username=st.none() | clean_texts),
    read_only=st.none() | st.booleans(),
    config=_objects,
    summary_metrics=_objects,
    history_keys=st.none() | _objects,
    history_line_count=st.none() | st.integers(),
)
