"""What is asked for: modes, selections, scopes."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from dr_wandb.core.contract.request import ExportMode, SyncMode
from dr_wandb.core.contract.scope import RunScope
from tests.property.machine.faults import FaultRules
from tests.support.syncing import select

SELECTIONS = (
    None,
    None,
    select("loss"),
    select("acc", "box.top"),
    select(max_records=2),
    select("loss", max_records=3),
    select(min_step=2),
    select(max_step=4),
    select("loss", min_step=1, max_step=5, max_records=2),
)

SCOPES = (
    None,
    None,
    RunScope(states=("running",)),
    RunScope(states=("running", "finished", "crashed")),
    RunScope(tags=("x",)),
    RunScope(tags=("x", "y"), states=("running", "finished")),
    RunScope(groups=("g",)),
    RunScope(sweeps=("s",)),
    RunScope(run_ids=("a", "b", "é/1")),
    RunScope(created_after="2026-01-01"),
    RunScope(created_before="2026-01-03"),
    RunScope(filters={"notes": "keep"}),
    RunScope(filters={"notes": "keep"}, states=("running", "finished")),
    RunScope(filters={"notes": None}, tags=("x", "z")),
)


class RequestRules(FaultRules):
    """Changes of the request."""

    @rule(mode=st.sampled_from(["history", "history", "metadata"]), to=st.sampled_from(SELECTIONS))
    def ask_for(self, mode: str, to: Any) -> None:
        self.request = replace(
            self.request,
            mode=ExportMode(mode),
            history_selection=to if mode == "history" else None,
        )

    @rule(included=st.booleans())
    def include_metadata(self, included: bool) -> None:
        self.request = replace(self.request, include_metadata=included)

    @rule(
        mode=st.sampled_from(["incremental", "incremental", "detect_changes", "full_reconcile"]),
    )
    def ask_in(self, mode: str) -> None:
        self.request = replace(self.request, sync_mode=SyncMode(mode))

    @rule(scope=st.sampled_from(SCOPES))
    def ask_within(self, scope: Any) -> None:
        self.request = replace(self.request, scope=scope)

    @rule(believed=st.booleans())
    def believe_what_is_gone(self, believed: bool) -> None:
        self.request = replace(self.request, allow_empty=believed)

    @rule(prune=st.sampled_from([False, False, True]))
    def ask_to_prune(self, prune: bool) -> None:
        self.request = replace(self.request, prune=prune)
