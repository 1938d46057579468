"""What an interrupted sync says of itself, for each state that it can leave."""

import pytest

from dr_wandb.core.inspect.interruption import describe_interruption

STATES = {
    (): (
        "interrupted before any rows were fetched: nothing changed, n is as it was before\n"
        "to go on, run the same command again"
    ),
    ("first",): (
        "interrupted before any rows were fetched: nothing changed, no sync of n has completed "
        "yet\nto go on, run the same command again"
    ),
    ("parts", "command"): (
        "interrupted; n is as it was before\n"
        "kept: 251 parts (12.3 MB); the next sync uses them unless W&B lists something else by "
        "then\n"
        "to go on, run: wandb-export sync n"
    ),
    ("first", "parts"): (
        "interrupted; no sync of n has completed yet\n"
        "kept: 251 parts (12.3 MB); the next sync uses them unless W&B lists something else by "
        "then\n"
        "to go on, run the same command again"
    ),
    ("parts", "done", "commit"): (
        "interrupted while the new files of n were put in place: they are saved, and the next sync "
        "finishes this first\n"
        "to go on, run the same command again"
    ),
    ("done",): "interrupted after the sync of n was complete",
}


@pytest.mark.parametrize("state", STATES, ids="-".join)
def test_interruption_says_what_is_kept_and_how_to_go_on(state: tuple[str, ...]) -> None:
    words = describe_interruption(
        "n",
        first="first" in state,
        done="done" in state,
        commit="commit" in state,
        parts=251 if "parts" in state else 0,
        part_bytes=12_340_000 if "parts" in state else 0,
        command="wandb-export sync n" if "command" in state else "",
    )
    assert words == STATES[state]
