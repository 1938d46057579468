"""Syncs that are stopped, disks that refuse, and copies of the export that come back."""

import errno
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from dr_wandb import ExportRequest, ExportSummary
from dr_wandb.core.contract.codec import decode_changes
from dr_wandb.core.contract.failures import DiskRefused, DrWandbError, Unfinished
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.request import SyncMode
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from dr_wandb.shell.store.disk import part_of
from dr_wandb.shell.sync.compaction import compact_changes
from tests.property.machine.convergence import behind
from tests.property.machine.files import check_folded
from tests.property.machine.formats import some_format, some_formats
from tests.property.machine.project import IDS
from tests.property.machine.syncs import SyncRules
from tests.property.machine.view import View, view_at_start
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import MAKES, Fault, Operation, Stopped, observed
from tests.support.scenarios import assert_loads, staged_runs
from tests.support.syncing import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

KILL = "kill"
DECIDES = f"replace {part_of(Path(RECORD_FILE)).name}"
AFTER_ALL = {f"rmtree {STAGING_FOLDER}"}
"""Tidying up when all is in place: what it meets is not the matter of a sync any more."""

FAULTS: tuple[Any, ...] = (
    KILL,
    KILL,
    Fault(None),
    Fault(None, tears=True),
    Fault(errno.ENOSPC, lasts_for=MAKES, tears=True),
    Fault(errno.EIO),
    Fault(errno.EACCES),
)


class Moment:
    """An operation of a sync: the so-manieth on its file of its kind. There `strike` is called."""

    def __init__(self, operations: list[str], place: int) -> None:
        self.label = operations[place]
        self._before = operations[:place].count(self.label)
        self.struck = False
        self.strike: Callable[[Operation], None] = lambda operation: None
        self.goes_on: Callable[[Operation], None] = lambda operation: None

    def __call__(self, operation: Operation) -> None:
        if self.struck:
            self.goes_on(operation)
        elif str(operation) == self.label:
            self._before -= 1
            if self._before < 0:
                self.struck = True
                self.strike(operation)


class CrashRules(SyncRules):
    """Crashes at any operation of a sync, each healed by one more sync; and older copies."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: Path | None = None

    def export_into(
        self, data_root: Path, request: ExportRequest, source: MemorySource
    ) -> ExportSummary:
        request = replace(request, data_root=data_root)
        return syncing.export(source, request, now=self.server.now, workers=1)

    @rule(
        how=st.sampled_from(FAULTS),
        where=st.sampled_from(["anywhere", "commit", "commit"]),
        part=st.floats(0, 1, exclude_max=True),
    )
    def crash(self, how: Any, where: str, part: float) -> None:
        """Stop a sync at some operation. What is left loads, and the next sync heals it."""
        request = self.request_now()
        with TemporaryDirectory() as scratch:
            calm = Path(scratch) / "calm"
            shutil.copytree(self.data_root, calm)
            operations: list[str] = []
            earlier = staged_runs(self.data_root)
            try:
                with observed(lambda operation: operations.append(str(operation))):
                    undisturbed = self.export_into(calm, request, syncing.twin(self.server))
            except DrWandbError:
                return
            expected = syncing.visible(calm / NAME)
            final = undisturbed.complete and not behind(View(calm / NAME))
            first = operations.index(DECIDES) if where == "commit" else 0
            place = first + int(part * (len(operations) - first))
            while how != KILL and operations[place] in AFTER_ALL:
                place -= 1
            moment = Moment(operations, place)
            note(f"{how} at {moment.label}")
            self.strike(how, moment, request, Path(scratch) / "image")
            if moment.struck:
                event(f"crash: {how if how == KILL else how.number or 'interrupt'}, {where}")
            if (self.export_dir / RECORD_FILE).exists():
                event("crash: within a commit")
            self.check_healing(Path(scratch) / "healed", request, final, expected, earlier)

    def strike(self, how: Any, moment: Moment, request: ExportRequest, image: Path) -> None:
        """Sync, and fail at this moment."""
        pending = (self.export_dir / RECORD_FILE).exists()
        before = view_at_start(self.export_dir)
        if how == KILL:
            moment.strike = lambda operation: self.take_image(operation, image)
        else:
            moment.strike = lambda operation: self.fail(how, operation)
            moment.goes_on = lambda operation: self.go_on_failing(how, operation)
        failure: Any = None
        try:
            with observed(moment):
                self.export_into(self.data_root, request, syncing.twin(self.server))
        except Stopped:
            pass
        except DrWandbError as error:
            failure = error.failure
        assert failure is None or isinstance(failure, DiskRefused | Unfinished), failure
        if isinstance(failure, DiskRefused) and not pending:
            assert syncing.visible(self.export_dir) == before.files
        if image.exists():
            shutil.rmtree(self.data_root)
            shutil.copytree(image, self.data_root)

    def take_image(self, operation: Operation, image: Path) -> None:
        """Copy what a kill would leave now; of a write that is under way, half is done."""
        take_back = operation.tear() if operation.kind == "write" else None
        shutil.copytree(self.data_root, image)
        if take_back is not None:
            take_back()

    def fail(self, how: Fault, operation: Operation) -> None:
        if how.tears:
            operation.tear()
        raise how.error(operation)

    def go_on_failing(self, how: Fault, operation: Operation) -> None:
        if operation.kind in how.lasts_for and str(operation) not in AFTER_ALL:
            raise how.error(operation)

    def check_healing(
        self,
        healed: Path,
        request: ExportRequest,
        final: bool,
        expected: dict[str, bytes],
        earlier: set[str],
    ) -> None:
        """One more sync gives the bytes of an undisturbed one, and reads nothing twice.

        final: a sync at once after that would find nothing new. earlier: the segments that were
        there before, which may answer another question.
        """
        assert_loads(self.data_root)
        # What is looked at once more is read at that time: an older answer says nothing new.
        known = view_at_start(self.export_dir).state
        runs = {} if known is None else known.runs
        once_more = {
            run
            for run, was in runs.items()
            if was.failed or any(part.evidence or part.look for part in was.parts.values())
        }
        staged = staged_runs(self.data_root) - earlier - once_more
        decided = (self.export_dir / RECORD_FILE).exists()
        shutil.copytree(self.data_root, healed)
        again = syncing.twin(self.server)
        self.export_into(healed, request, again)
        if not final:
            return
        assert syncing.visible(healed / NAME) == expected
        if self.request.sync_mode != SyncMode.FULL_RECONCILE and not decided:
            assert not staged & {call[1] for call in again.asked if call[0] == "read_history"}

    @rule(how=st.sampled_from(FAULTS), part=st.floats(0, 1, exclude_max=True), again=st.booleans())
    def sync_after_a_crash(self, how: Any, part: float, again: bool) -> None:
        self.crash(how, "commit", part)
        if again:
            self.crash(KILL, "anywhere", part)
        self.sync()

    @rule(
        formats=some_formats,
        dropped=some_format,
        how=st.sampled_from(FAULTS),
        part=st.floats(0, 1, exclude_max=True),
    )
    def sync_after_a_crash_in_other_formats(
        self, formats: tuple[str, ...], dropped: str, how: Any, part: float
    ) -> None:
        asked_before = self.request
        self.ask_in_formats(formats, dropped)
        self.crash(how, "commit", part)
        self.request = asked_before
        self.sync()

    # --- the log

    @rule(where=st.floats(0, 1))
    def fold_the_log(self, where: float) -> None:
        """Fold lines of old syncs: the sum of all lines stays, and so does every other file."""
        before = view_at_start(self.export_dir)
        lines = [decode_changes(line).unwrap() for line in before.changes]
        moment = instant(lines[int(where * (len(lines) - 1))].at) if lines else None
        if moment is None:
            return
        segments = staged_runs(self.data_root)
        done = compact_changes(NAME, self.data_root, moment)
        after = View(self.export_dir)
        event(f"lines were folded: {bool(done.folded)}")
        check_folded(before, after, done)
        assert staged_runs(self.data_root) == segments

    # --- two computers

    @precondition(lambda self: self.export_dir.exists())
    @rule(hidden=st.booleans())
    def carry_a_copy_away(self, hidden: bool) -> None:
        """Keep a copy of the export, with its hidden files or without them."""
        unfinished = (self.export_dir / RECORD_FILE).exists()
        ignore = None if hidden or unfinished else shutil.ignore_patterns(".*")
        self.elsewhere = Path(self.folder.name) / "elsewhere"
        shutil.rmtree(self.elsewhere, ignore_errors=True)
        shutil.copytree(self.export_dir, self.elsewhere, ignore=ignore)

    @precondition(lambda self: self.elsewhere is not None)
    @rule(swap=st.booleans())
    def bring_the_copy_back(self, swap: bool) -> None:
        """Go on from the copy; with `swap` what was here is the copy now, as with two computers."""
        assert self.elsewhere is not None
        event("an older copy comes back")
        here = Path(self.folder.name) / "here"
        shutil.copytree(self.export_dir, here)
        shutil.rmtree(self.export_dir)
        shutil.copytree(self.elsewhere, self.export_dir)
        if swap:
            shutil.rmtree(self.elsewhere)
            here.rename(self.elsewhere)
        else:
            shutil.rmtree(here)
        self.edited.update(IDS)
        self.logged.update(IDS)
