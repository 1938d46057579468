"""Syncs, and what must be so after each."""

from typing import Any

from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from dr_wandb import ExportSummary
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import (
    DrWandbError,
    InvalidRequest,
    RunsVanished,
    SelectionNarrower,
    Unreachable,
)
from dr_wandb.core.contract.request import ExportMode, SyncMode
from dr_wandb.core.sync.narrowing import as_if_allowed
from dr_wandb.core.sync.next_evidence import SHORT_SYNCS
from tests.property.machine.convergence import Convergence, Look, behind, check_marks
from tests.property.machine.files import (
    check_changes,
    check_exported_at,
    check_files,
    check_summary,
)
from tests.property.machine.formats import (
    check_formats,
    some_format,
    some_formats,
    wanted_formats,
)
from tests.property.machine.project import DAY, IDS, MINUTE, runs
from tests.property.machine.requests import SCOPES, SELECTIONS, RequestRules
from tests.property.machine.view import View, contents_of, view_at_start
from tests.support import syncing


class SyncRules(RequestRules):
    """Syncs, each checked."""

    @rule()
    def sync(self) -> None:
        before = view_at_start(self.export_dir)
        request = self.request_now()
        asked = len(self.server.asked)
        self.shorten_histories(before)
        self.server.disturbed = False
        failure, summary = None, None
        try:
            summary = syncing.export(self.server, request, now=self.server.now)
        except DrWandbError as error:
            failure = error.failure
        disturbed = self.server.disturbed
        self.server.meanwhile.clear()
        self.server.intruders.clear()
        self.server.calm_down()
        self.check_intrusions()
        look = Look(self.server, request, before, self.server.queries(asked, request.scope))
        after = View(self.export_dir)
        if summary is None:
            self.check_refusal(look, after, failure)
            return
        note(f"failures {summary.failures}")
        self.check_sync(look, after, summary, disturbed)

    def check_refusal(self, look: Look, after: View, failure: Any) -> None:
        """A sync that could not be done changes nothing, and has a reason."""
        assert after.files == look.before.files
        if isinstance(failure, RunsVanished):
            event("sync: most runs vanished")
            assert look.vanished
            assert failure.vanished == len(look.gone & look.present)
            assert failure.known == len(look.present)
        elif isinstance(failure, InvalidRequest):
            event("sync: the formats do not fit")
            assert wanted_formats(look.request, look.before.manifest) is None
        elif isinstance(failure, SelectionNarrower):
            event("sync: the selection is narrower")
            assert not look.request.allow_narrower
            assert 0 < failure.rows_removed <= sum(map(len, look.before.rows.values()))
        else:
            event("sync: unreachable")
            assert isinstance(failure, Unreachable), failure

    def check_sync(self, look: Look, after: View, summary: ExportSummary, disturbed: bool) -> None:
        check_files(self.export_dir, look.request, summary)
        check_formats(self.export_dir, look.before, look.request)
        check_summary(look.before, after, summary)
        check_exported_at(look.before, after)
        told = check_changes(look.before, after, summary.exported_at)
        for what in set() if told is None else told.keys() - {"at"}:
            event(f"changes: {what}")
        event(f"sync: {summary.sync_mode}")
        if summary.failures:
            event("sync: some runs failed")
        if disturbed:
            event("sync: disturbed")
            self.edited.update(IDS)
            self.logged.update(IDS)
            return
        assert not look.vanished
        check_marks(look, after, summary)
        law = Convergence(look, after, summary, (self.edited, self.logged, self.masked))
        law.check()
        law.forget_what_was_read()
        if summary.complete and not behind(after):
            if self.narrows_next(after):
                event("sync: rows that were kept go in the next one")
                self.sync()
            else:
                self.check_idempotence(after)

    def narrows_next(self, after: View) -> bool:
        """Say whether a run was proven under the wider selection that it kept until now.

        Such a proof is no reason to keep it: the next sync that may drop rows reads it under the
        requested one.
        """
        assert after.state is not None
        request = as_if_allowed(self.request_now(), after.manifest)
        if request.mode != ExportMode.HISTORY or request.sync_mode == SyncMode.FULL_RECONCILE:
            return False
        return any(
            run_id in self.server.inside(request.scope)
            and (held := run.part(HISTORY).rows) is not None
            and run.part(HISTORY).stored is not None
            and held.selection != request.selection
            and run.selection_for(request, HISTORY) == request.selection
            for run_id, run in after.state.runs.items()
        )

    def check_idempotence(self, after: View) -> None:
        """Sync again at once: no byte changes, and a sync that can tell asks for no history.

        A run whose last step W&B lists too low, or not at all, is read again each time where the
        line count does not account for the rows beyond it: under a step window, or if it is too
        low as well.
        """
        asked = len(self.server.asked)
        syncing.export(self.server, self.request, now=self.server.now)
        assert contents_of(syncing.visible(self.export_dir)) == after.contents
        if self.request.sync_mode != SyncMode.FULL_RECONCILE:
            read = {call[1] for call in self.server.asked[asked:] if call[0] == "read_history"}
            for run_id in read:
                undercounted = self.server.runs[run_id].line_count_offset < 0
                assert self.understates_last_step(run_id), run_id
                assert undercounted, run_id

    # --- syncs after something that would otherwise be rare

    @rule(seconds=st.sampled_from([MINUTE, 2 * DAY]))
    def sync_later(self, seconds: int) -> None:
        self.advance(seconds)
        self.sync()

    @rule(run_id=runs, count=st.integers(1, 3))
    def sync_after_growth(self, run_id: str, count: int) -> None:
        for _ in range(count):
            self.log(run_id, {"loss": 4.5})
        self.sync()

    @rule(
        formats=some_formats,
        dropped=some_format,
        mode=st.sampled_from(["history", "metadata", "metadata"]),
    )
    def sync_in_formats(self, formats: tuple[str, ...], dropped: str, mode: str) -> None:
        """In metadata mode a format is made of what is held, and no row is asked for."""
        asked_before, asked = self.request, len(self.server.asked)
        self.ask_for(mode, self.request.history_selection)
        self.ask_in_formats(formats, dropped)
        self.sync()
        self.request = asked_before
        calls = {call[0] for call in self.server.asked[asked:]}
        assert mode == "history" or "read_history" not in calls

    @rule(to=st.sampled_from(SELECTIONS))
    def sync_under_a_selection(self, to: Any) -> None:
        self.ask_for("history", to)
        self.sync()

    @rule(to=st.sampled_from(SELECTIONS))
    def sync_under_a_selection_that_must_not_be_narrower(self, to: Any) -> None:
        """No row is dropped, and no value of one: either they are there, or the sync stops."""
        asked_before = self.request
        self.ask_for("history", to)
        self.request = replace(self.request, allow_narrower=False)
        self.sync()
        self.request = asked_before

    @rule(scope=st.sampled_from(SCOPES))
    def sync_within_a_scope(self, scope: Any) -> None:
        self.ask_within(scope)
        self.sync()

    @rule(mode=st.sampled_from(["history", "metadata"]))
    def sync_in_full(self, mode: str) -> None:
        asked_before = self.request
        self.ask_for(mode, self.request.history_selection)
        self.ask_in("full_reconcile")
        self.sync()
        self.request = asked_before

    @rule(prune=st.booleans())
    def sync_and_believe_what_is_gone(self, prune: bool) -> None:
        asked_before = self.request
        self.request = replace(self.request, prune=prune, allow_empty=True)
        self.sync()
        self.request = asked_before

    @rule(to=st.sampled_from(SELECTIONS))
    def sync_until_settled(self, to: Any) -> None:
        """End every run, sync when that is long ago, and then under another selection."""
        self.settle()
        self.sync_under_a_selection(to)

    def settle(self) -> None:
        for run_id in self.server.runs:
            self.end(run_id, "finished")
        self.advance(2 * DAY)
        self.sync_until_complete()

    @rule()
    def sync_until_complete(self) -> None:
        """Sync until nothing fails; what W&B's count is wrong about takes three syncs."""
        self.server.poisoned.clear()
        self.to_shorten.clear()
        for run_id in self.server.runs:
            self.server.update(run_id, config_json=None)
            self.edited.add(run_id)
        asked_before = self.request
        self.request = replace(self.request, allow_empty=True)
        for _ in range(SHORT_SYNCS + 1):
            self.advance(11 * MINUTE)  # rows go after two reads without them
            self.sync()
            summary = syncing.export(self.server, self.request, now=self.server.now)
            if summary.complete:
                self.request = asked_before
                return
        raise AssertionError(f"never complete: {summary.failures}")

    @rule(
        run_id=runs,
        what=st.sampled_from(["edit", "rename", "late", "log", "rewind", "resume", "delete"]),
        mode=st.sampled_from(["detect_changes", "detect_changes", "incremental"]),
    )
    def sync_after_a_settled_run_changed(self, run_id: str, what: str, mode: str) -> None:
        self.settle()
        happenings = {
            "edit": lambda: self.edit(run_id, ["x", "z"], "keep", {"lr": 2}),
            "rename": lambda: self.rename(run_id, "other", "g", "s"),
            "late": lambda: self.log_late(run_id, 1, {"acc": 6.5}),
            "log": lambda: self.log(run_id, {"acc": 7.5}),
            "rewind": lambda: self.rewind(run_id, 1, 0),
            "resume": lambda: self.resume(run_id, "third"),
            "delete": lambda: self.delete(run_id),
        }
        happenings[what]()
        asked_before = self.request
        self.ask_in(mode)
        self.sync()
        self.request = asked_before

    @rule(
        run_id=runs,
        scope=st.sampled_from(SCOPES[2:]),
        settled=st.booleans(),
        by_notes=st.booleans(),
    )
    def sync_as_a_run_leaves_the_scope(
        self, run_id: str, scope: Any, settled: bool, by_notes: bool
    ) -> None:
        """Take a run up within a scope, and sync again when it is not in it any more."""
        if not self.has(run_id):
            return
        self.edit(run_id, ["x"], (scope.filters or {}).get("notes"), None)
        self.rename(run_id, None, "g", "s")
        self.resume(run_id, None)
        self.ask_within(scope)
        if settled:
            self.settle()
        else:
            self.sync()
        if by_notes:
            self.edit(run_id, ["x"], "other", None)
        else:
            self.edit(run_id, [], "other", None)
            self.rename(run_id, None, None, None)
            self.end(run_id, "failed")
        self.sync()

    @rule(hidden=st.booleans(), back=st.booleans())
    def sync_as_most_runs_vanish(self, hidden: bool, back: bool) -> None:
        """Let the listing be without every run but one, for a while or for good."""
        for run_id in IDS[:3]:
            self.create(run_id, False)
            self.hide_or_reveal(run_id, True)
        self.request = replace(self.request, scope=None, allow_empty=False)
        self.sync()
        vanished = sorted(self.server.shown)[1:]
        for run_id in vanished:
            if hidden:
                self.server.hide(run_id)
            else:
                self.delete(run_id)
        self.sync()
        if back:
            for run_id in vanished:
                self.hide_or_reveal(run_id, True)
                self.undelete(run_id)
            self.sync()
        else:
            self.sync_and_believe_what_is_gone(False)

    @rule(
        run_id=runs,
        pruned=st.booleans(),
        back=st.sampled_from(["as it was", "edited", "another one", "another one, poisoned"]),
    )
    def sync_as_a_run_is_deleted_and_comes_back(self, run_id: str, pruned: bool, back: str) -> None:
        if not self.has(run_id):
            return
        self.sync()
        self.delete(run_id)
        self.sync_and_believe_what_is_gone(pruned)
        if back.startswith("another one"):
            self.create(run_id, False)
            self.log(run_id, {"acc": 9.5})
        else:
            self.undelete(run_id)
        if back == "edited":
            self.log(run_id, {"acc": 8.5})
            self.edit(run_id, ["y"], "back", None)
        elif back == "another one, poisoned":
            self.poison(run_id)
        self.sync()
