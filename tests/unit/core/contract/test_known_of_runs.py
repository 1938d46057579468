"""What is known of runs: what changed since, when one is settled, and what older states said."""

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Set

import msgspec
import pytest

from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.earlier_states import read_state
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.known_runs import ChangedRuns, KnownRuns, Total
from dr_wandb.core.contract.listing import RunListing, names_run
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import ExportState, RunTracking, with_fields_to_read
from dr_wandb.core.contract.state_form import StoreChanges, changes_of_store

CREATED = "2026-01-01T00:00:00Z"
NEXT_WEEK = "2026-01-08T00:00:00Z"
A_FAILURE = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="HTTP 503")


class AllAtRest(KnownRuns):
    """Runs that all rest, under any request."""

    def __init__(self, *run_ids: str) -> None:
        self.runs = {run_id: RunTracking(run_id=run_id) for run_id in run_ids}

    def __getitem__(self, run_id: str) -> RunTracking:
        return self.runs[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def resting(self, request: ExportRequest | None) -> Set[str]:
        return self.runs.keys()

    def everything(self) -> Mapping[str, RunTracking]:
        return self.runs

    def total(self, file: str) -> Total:
        return Total()

    def awake(self, request: ExportRequest | None) -> Iterable[tuple[str, RunTracking]]:
        return ()

    def notable(self, datasets: Collection[str]) -> Iterable[tuple[str, RunTracking]]:
        return ()


# Changed runs


def test_run_that_is_gone_is_not_found_though_it_was_there() -> None:
    before = {"a": RunTracking(run_id="a"), "b": RunTracking(run_id="b")}
    after = ChangedRuns(before, {}, gone=["a"])
    assert after["b"] is before["b"]
    with pytest.raises(KeyError, match="a"):
        after["a"]


def test_runs_that_changed_or_are_gone_rest_no_more() -> None:
    before = AllAtRest("a", "b", "c")
    changed = {"a": RunTracking(run_id="a", run_state="running")}
    assert ChangedRuns(before, changed, gone=["b"]).resting(None) == {"c"}
    assert ChangedRuns(before, {}, gone=["b"]).resting(None) == {"a", "c"}
    assert ChangedRuns(before, {}).resting(None) == {"a", "b", "c"}


# Listings and requests


def test_storage_id_names_the_run_whose_id_it_was_made_of() -> None:
    storage_id = base64.b64encode(b"Run:v1:abc:project:team").decode()
    assert names_run(storage_id, "abc")
    assert not names_run(storage_id, "ab")
    assert not names_run(base64.b64encode(b"Project:v1:abc:team").decode(), "abc")
    assert not names_run("abc", "abc")


def test_scope_of_a_request_has_to_be_a_scope() -> None:
    with pytest.raises(InvalidRequestError, match="scope must be a RunScope"):
        ExportRequest(entity="team", project="p", name="n", scope="finished")  # type: ignore[arg-type]


# Runs


def test_run_whose_metadata_file_did_not_come_is_not_read_at_its_end() -> None:
    run = RunTracking(
        run_id="a",
        run_state="finished",
        seen=RunListing(run_id="a"),
        metadata_included=True,
        snapshot=ByteRange(offset=0, length=10, rows=1, digest="d"),
    )
    assert run.read_at_its_end(include_metadata=True)
    failed = msgspec.structs.replace(run, metadata_failure=A_FAILURE)
    assert not failed.read_at_its_end(include_metadata=True)


def test_run_that_was_never_listed_is_not_known_to_be_silent() -> None:
    assert not RunTracking(run_id="a", created_at=CREATED).silent_for_long(NEXT_WEEK)
    listed = RunListing(run_id="a", created_at=CREATED)
    assert RunTracking(run_id="a", seen=listed).silent_for_long(NEXT_WEEK)


@pytest.mark.parametrize("listed", ["old", "newer"])
def test_only_the_listing_that_a_snapshot_was_made_of_gets_its_new_fingerprint(listed: str) -> None:
    seen = RunListing(run_id="a", fingerprint=listed)
    run = RunTracking(run_id="a", fingerprint="old", seen=seen)
    known = with_fields_to_read(run, ("sweep_name",), "new")
    assert known.fingerprint == "new"
    assert known.seen is not None
    assert known.seen.fingerprint == {"old": "new", "newer": "newer"}[listed]


# States of version 3


def state_of_version_3(short_by: int) -> bytes:
    position = {"rows": 4, "last_step": 3, "listed": {"line_count": 6}, "short_by": short_by}
    run = {"run_id": "a", "created_at": CREATED, "position": position}
    state = {"schema_version": 3, "name": "n", "entity": "team", "project": "p", "runs": {"a": run}}
    return msgspec.json.encode(state)


def part_in(content: bytes) -> PartTracking:
    return read_state(content, 3).runs["a"].part(HISTORY)


def position_short_by(lines: int) -> Position:
    return Position(rows=4, last_step=3, listed=Counts(line_count=6), short_by=lines)


def test_run_that_a_state_without_evidence_has_as_short_is_accepted_as_short() -> None:
    evidence = Evidence(standing=Standing.ACCEPTED, created_at=CREATED, difference=2)
    expected = PartTracking(position=position_short_by(2), evidence=evidence)
    assert part_in(state_of_version_3(short_by=2)) == expected


def test_run_that_a_state_without_evidence_has_more_of_than_was_listed_is_not_short() -> None:
    assert part_in(state_of_version_3(short_by=-2)) == PartTracking(position=position_short_by(0))


def placed(**offsets: int) -> dict[str, RunTracking]:
    """Return runs whose snapshots of ten bytes begin at these offsets."""
    return {
        run_id: RunTracking(
            run_id=run_id,
            created_at=CREATED,
            snapshot=ByteRange(offset=offset, length=10, rows=1, digest="d"),
        )
        for run_id, offset in offsets.items()
    }


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ({"a": 10, "b": 0}, True),
        ({"a": 0, "b": 10}, False),
        ({"a": 5, "b": 15}, False),
    ],
)
def test_store_stays_only_if_order_and_lengths_give_the_offsets(
    after: dict[str, int], kept: bool
) -> None:
    state = ExportState(name="n", entity="e", project="p")
    before = placed(a=20, b=0)
    runs = ChangedRuns(before, {})
    stored = StoreChanges(state=state, store="sha")
    changes = changes_of_store(stored, state, runs, placed(**after))
    assert (changes is not None) == kept
    assert changes is None or changes.moved


def test_runs_that_changed_are_notable_and_those_that_are_gone_are_not() -> None:
    before = {run_id: RunTracking(run_id=run_id) for run_id in ("a", "b", "c")}
    changed = {"a": RunTracking(run_id="a", run_state="running")}
    after = ChangedRuns(before, changed, gone=["b"])
    assert dict(after.notable(())) == {"c": before["c"], "a": changed["a"]}
