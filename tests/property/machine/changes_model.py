"""What a sync changed, by comparing what lay in the folder before with what lies there now.

A second, simpler account than that of core/sync/changes.py, with nothing of it but two numbers.
"""

import json
from typing import Any

from tests.property.machine.view import View

BY_ITSELF = {
    "url",
    "heartbeat_at",
    "updated_at",
    "system_metrics",
    "history_keys",
    "history_line_count",
    "storage_id",
}
REPEATS = {"run_id", "name", "path"}
ENDED = {"finished", "failed", "crashed", "killed", "preempted"}
SUMMARY = "summary_metrics"
SMALL = 200
MOST = 100
NOTHING = object()


def flat(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return every object and every other value in a value, by its path."""
    found = {path: value}
    if isinstance(value, dict):
        for key, member in value.items():
            found.update(flat(member, (*path, key)))
    return found


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def same(old: Any, new: Any) -> bool:
    if old is NOTHING or new is NOTHING:
        return old is new
    return compact(old) == compact(new)


def fields_between(old: dict[str, Any], new: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the members that differ, by their name; objects that stay objects are looked into."""
    before, after = flat(old), flat(new)
    changed: dict[str, dict[str, Any]] = {}
    for path in sorted({*before, *after}):
        was, now = before.get(path, NOTHING), after.get(path, NOTHING)
        parents = [
            (before.get(path[:length]), after.get(path[:length])) for length in range(len(path))
        ]
        looked_into = all(isinstance(side, dict) for pair in parents for side in pair)
        if not path or path[0] in BY_ITSELF | REPEATS or not looked_into or same(was, now):
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            continue
        told = {"field": ".".join(map(name, path))}
        values = {
            side: value for side, value in (("old", was), ("new", now)) if value is not NOTHING
        }
        large = any(len(compact(value).encode()) > SMALL for value in values.values())
        changed[told["field"]] = {**told, **({"large": True} if large else values)}
    return changed


def path_in(name: str) -> str:
    return name.partition(".")[0]


def still(old: dict[str, Any], new: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the small members of a summary that are the same, by their name."""
    before, found = flat(old), {}
    for path, value in flat(new).items():
        small = len(compact(value).encode()) <= SMALL
        if not isinstance(value, dict) and small and same(before.get(path, NOTHING), value):
            told = ".".join(map(name, (SUMMARY, *path)))
            found[told] = {"field": told, "old": value, "new": value}
    return found


def is_still(told: dict[str, Any]) -> bool:
    return "old" in told and "new" in told and same(told["old"], told["new"])


def name(key: str) -> str:
    return compact(key) if not key or "." in key or key.startswith('"') else key


def runs_between(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of one run, {} where it is the same.

    The summary of a run that is alive moves by itself; that of one that has ended is told whole.
    """
    fields = fields_between(old, new)
    was_alive, is_alive = (run.get("state") not in ENDED for run in (old, new))
    if was_alive and is_alive:
        fields = {name: told for name, told in fields.items() if path_in(name) != SUMMARY}
    if was_alive and not is_alive:
        fields = {**still(old.get(SUMMARY, {}), new.get(SUMMARY, {})), **fields}
    # The run's own fields are told before those of its config and summary, what is still so last.
    order = sorted(fields, key=lambda name: ("." in name, is_still(fields[name]), name))
    told: dict[str, Any] = {}
    if fields:
        told["fields"] = [fields[field] for field in sorted(order[:MOST])]
    if len(fields) > MOST:
        told["more"] = len(fields) - MOST
    return told


def changes_between(before: View, after: View, at: str) -> dict[str, Any] | None:
    """Return the line of `changes.jsonl` as an object; None where there is nothing to tell."""
    both = sorted(before.runs.keys() & after.runs.keys())
    changed = {run: runs_between(before.runs[run], after.runs[run]) for run in both}
    finished = {
        run: after.runs[run]["state"]
        for run in both
        if after.runs[run]["state"] in ENDED and before.runs[run]["state"] not in ENDED
    }
    rows = {
        run: {"before": len(before.of(run)[1]), "after": len(after.of(run)[1])}
        for run in sorted({*before.rows, *after.rows})
        if before.of(run)[1] != after.of(run)[1]
    }
    told = {
        "new": sorted(after.runs.keys() - before.runs.keys()),
        "changed": {run: what for run, what in changed.items() if what},
        "finished": finished,
        "missing": [run for run in both if run in after.missing and run not in before.missing],
        "returned": [run for run in both if run in before.missing and run not in after.missing],
        "pruned": sorted(before.runs.keys() - after.runs.keys()),
        "left_scope": [run for run in both if run in after.outside and run not in before.outside],
        "entered_scope": [
            run for run in both if run in before.outside and run not in after.outside
        ],
        "rows": rows,
    }
    told = {what: runs for what, runs in told.items() if runs}
    return {"at": at, **told} if told else None
