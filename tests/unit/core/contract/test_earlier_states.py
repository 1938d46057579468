"""States of earlier schema versions that have failures of each sort."""

import json
from typing import Any

import pytest

from dr_wandb.core.contract.earlier_states import read_state
from dr_wandb.core.contract.part import PartTracking
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import RunTracking

ADDRESS = {"name": "n", "entity": "e", "project": "p"}

OF_VERSION_5: dict[str, Any] = {
    "unlisted": {"run_id": "unlisted", "failure": "W&B could not serve this run, even alone"},
    "unread": {"run_id": "unread", "unread": "config is not valid JSON"},
    "metadata": {"run_id": "metadata", "metadata_failure": "HTTP 404"},
    "error": {"run_id": "error", "parts": {"history": {"failure": "HTTP 504"}}},
    "refused": {
        "run_id": "refused",
        "metadata_failure": "HTTP 403",
        "parts": {"history": {"failure": "HTTP 402", "refused": True}},
    },
    "sound": {"run_id": "sound", "parts": {"history": {"rows_from": "api"}}},
    "bare": {"run_id": "bare"},
}
"""Runs as they stand in a state of schema version 5."""


def unknown(reason: str) -> RunFailure:
    return RunFailure(kind=RunFailureKind.UNKNOWN, reason=reason)


REFUSED = RunFailure(kind=RunFailureKind.REFUSED, reason="HTTP 402")

READ = {
    "unlisted": RunTracking(
        run_id="unlisted", failure=unknown("W&B could not serve this run, even alone")
    ),
    "unread": RunTracking(run_id="unread", unread=unknown("config is not valid JSON")),
    "metadata": RunTracking(run_id="metadata", metadata_failure=unknown("HTTP 404")),
    "error": RunTracking(
        run_id="error", parts={"history": PartTracking(failure=unknown("HTTP 504"))}
    ),
    "refused": RunTracking(
        run_id="refused",
        metadata_failure=unknown("HTTP 403"),
        parts={"history": PartTracking(failure=REFUSED)},
    ),
    "sound": RunTracking(run_id="sound", parts={"history": PartTracking(rows_from="api")}),
    "bare": RunTracking(run_id="bare"),
}


def test_failures_of_schema_version_5_are_read_with_a_kind() -> None:
    content = json.dumps({"schema_version": 5, **ADDRESS, "runs": OF_VERSION_5}).encode()
    state = read_state(content, 5)
    assert state.schema_version == 5
    assert state.runs == READ
    assert [run_id for run_id, run in state.runs.items() if run.refused] == ["refused"]


def test_failures_of_schema_version_4_are_read_with_a_kind() -> None:
    """What was known of the history lay among what was known of the run."""
    runs = {
        "error": {"run_id": "error", "failure": "HTTP 504"},
        "refused": {
            "run_id": "refused",
            "failure": "HTTP 402",
            "refused": True,
            "metadata_failure": "HTTP 403",
        },
        "unread": OF_VERSION_5["unread"],
    }
    content = json.dumps({"schema_version": 4, **ADDRESS, "runs": runs}).encode()
    state = read_state(content, 4)
    assert state.runs == {
        "error": RunTracking(run_id="error", failure=unknown("HTTP 504")),
        "refused": READ["refused"],
        "unread": READ["unread"],
    }


@pytest.mark.parametrize(
    "damage",
    [
        {"runs": []},
        {"runs": {"a": 1}},
        {"runs": {"a": {"run_id": "a", "failure": 1}}},
        {"runs": {"a": {"run_id": "a", "failure": {"kind": "refused", "reason": "no"}}}},
        {"runs": {"a": {"run_id": "a", "parts": []}}},
        {"runs": {"a": {"run_id": "a", "parts": {"history": {"failure": ["no"]}}}}},
        {"changes_length": "long"},
    ],
    ids=str,
)
def test_state_of_schema_version_5_that_does_not_read_is_a_value_error(
    damage: dict[str, Any],
) -> None:
    content = json.dumps({"schema_version": 5, **ADDRESS, **damage}).encode()
    with pytest.raises(ValueError, match="Expected"):
        read_state(content, 5)
