"""What W&B says that is not so, and what fails during the next sync."""

from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import rule

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DrWandbError, Locked
from dr_wandb.core.sync.next_evidence import SHORT_SYNCS
from tests.property.machine.formats import FormatRules
from tests.property.machine.project import runs
from tests.property.machine.view import View
from tests.support import syncing


class FaultRules(FormatRules):
    """Faults of the server, and what others do while a sync is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.to_shorten: dict[str, tuple[int, int]] = {}
        self.intrusions: list[Any] = []

    # --- what W&B says of a run, and is not so

    @rule(run_id=runs, null=st.booleans())
    def show_no_history_keys(self, run_id: str, null: bool) -> None:
        if self.has(run_id):
            self.server.update(run_id, null_history_keys=null)
            self.touch(run_id)

    @rule(run_id=runs, behind=st.integers(0, 3))
    def show_a_stale_last_step(self, run_id: str, behind: int) -> None:
        if self.has(run_id):
            stale = max(-1, self.server.runs[run_id].highest_step - behind)
            self.server.update(run_id, last_step=stale if behind else None)
            self.touch(run_id)

    @rule(run_id=runs, offset=st.sampled_from([0, 0, 1, 2, -1]))
    def count_lines_wrongly(self, run_id: str, offset: int) -> None:
        if self.has(run_id) and len(self.server.runs[run_id].rows) > 1:
            self.server.update(run_id, line_count_offset=offset)
            self.touch(run_id)
            self.masked.add(run_id)

    @rule(run_id=runs, broken=st.booleans())
    def break_the_config(self, run_id: str, broken: bool) -> None:
        if self.has(run_id):
            self.server.update(run_id, config_json='{"lr": ' if broken else None)
            self.touch(run_id, rows=True)

    def understates_last_step(self, run_id: str) -> bool:
        run = self.server.runs[run_id]
        stale = run.last_step is not None and run.last_step < run.highest_step
        return run.null_history_keys or stale

    # --- faults of the next sync

    @rule(run_id=runs, times=st.sampled_from([1, 2, 9]))
    def fail_history(self, run_id: str, times: int) -> None:
        self.server.fail_history(run_id, times)

    @rule(run_id=runs, times=st.sampled_from([1, 2, 9]))
    def fail_metadata(self, run_id: str, times: int) -> None:
        self.server.fail_metadata(run_id, times)

    @rule(times=st.sampled_from([1, 2, 9]))
    def fail_listing(self, times: int) -> None:
        self.server.fail_listing(times)

    @rule(times=st.sampled_from([1, 2, 4, 9]))
    def throttle(self, times: int) -> None:
        self.server.throttle(times)

    @rule(run_id=runs)
    def poison(self, run_id: str) -> None:
        """Let every read of a history fail until it is healed."""
        self.server.poisoned.add(run_id)

    @rule(run_id=runs)
    def heal(self, run_id: str) -> None:
        self.server.poisoned.discard(run_id)

    @rule(run_id=runs, count=st.integers(0, 3), times=st.sampled_from([1, 9]))
    def shorten_history(self, run_id: str, count: int, times: int) -> None:
        """Let answers of the next sync end early, without an error."""
        self.to_shorten[run_id] = (count, times)

    def shorten_histories(self, before: View) -> None:
        """Shorten what was asked for, as far as anybody could tell that rows are missing.

        Of a step window, or of a run whose last step is not known, nobody can tell that an answer
        which has some rows is without others; so these get empty ones. The third answer in a row
        that is as short would be believed.
        """
        bounds = self.request.selection.bounds
        windowed = bounds.min_step is not None or bounds.max_step is not None
        for run_id, (count, times) in self.to_shorten.items():
            known = before.tracked.get(run_id)
            evidence = None if known is None else known.part(HISTORY).evidence
            if evidence is not None and evidence.reads >= SHORT_SYNCS - 1:
                continue
            blind = windowed or (self.has(run_id) and self.understates_last_step(run_id))
            self.server.shorten_history(run_id, 0 if blind else count, times)
        self.to_shorten.clear()

    @rule(
        run_id=runs,
        what=st.sampled_from(["log", "log", "rewind", "delete", "finish", "late", "anew", "edit"]),
    )
    def let_happen_during_the_next_sync(self, run_id: str, what: str) -> None:
        happenings = {
            "log": lambda: self.log(run_id, {"loss": 3.5}),
            "rewind": lambda: self.rewind(run_id, 1, 0),
            "delete": lambda: self.delete(run_id),
            "finish": lambda: self.end(run_id, "finished"),
            "late": lambda: self.log_late(run_id, 1, {"acc": 3.5}),
            "anew": lambda: self.make_anew(run_id, 2),
            "edit": lambda: self.edit(run_id, ["z"], "keep", {"lr": 2}),
        }
        self.server.meanwhile.append(happenings[what])

    @rule()
    def let_another_sync_begin_during_the_next_one(self) -> None:
        self.server.intruders.append(self.intrude)

    def intrude(self) -> None:
        """Sync the same export while another sync is at work on it."""
        before = syncing.visible(self.export_dir)
        other = syncing.twin(self.server)
        try:
            syncing.export(other, self.request_now(), now=self.server.now)
            what: Any = "it went on"
        except DrWandbError as error:
            what = error.failure
        untouched = syncing.visible(self.export_dir) == before and not other.asked
        self.intrusions.append((what, untouched))

    def check_intrusions(self) -> None:
        """A second sync fails at once, with nothing asked and nothing changed."""
        for what, untouched in self.intrusions:
            assert isinstance(what, Locked), what
            assert untouched
            event("sync: another one is turned away")
        self.intrusions.clear()
