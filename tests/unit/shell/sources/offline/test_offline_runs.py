"""What the records of `.wandb` files become, as a server is told by the SDKs that wrote them.

The cases of rows, configs and summaries were measured: the SDK's own upload of the same records.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import BranchPoint
from dr_wandb.core.offline.run import RunFold, behind, state_of
from dr_wandb.core.offline.tree import Tree
from dr_wandb.core.offline.wandb_file import identify, read_file, rows_of
from tests.support.wandb_file import (
    config_record,
    exit_record,
    file_of,
    header_record,
    history_record,
    item,
    record,
    row_record,
    run_record,
    summary_record,
    telemetry_record,
)

CORE, LEGACY = header_record(), header_record("")
A_ROW = row_record({"_step": 0, "a": 1})
PREEMPTING = record(preempting=pb.RunPreemptingRecord())

STARTED = 1_767_225_600.0
"""When the runs of these tests were started."""

DAY = 86_400.0
A_LATER_ROW = row_record({"_step": 0, "_timestamp": STARTED + DAY})


def fold_of(*payloads: bytes, header: bytes = CORE) -> RunFold:
    return read_file(file_of([header, *payloads]), FileReading()).fold


def rows(*payloads: bytes, before: FileReading | None = None) -> list[dict[str, Any]]:
    data = file_of([CORE, *payloads])
    reading = read_file(data, before or FileReading())
    return [dict(row) for batch in rows_of(data, reading, FetchWindow()) for row in batch.rows]


# --- rows


@pytest.mark.parametrize(
    ("items", "row"),
    [
        ([item("a", "1"), item("a", "2")], {"a": 2}),
        ([item("a", '{"b":1,"c":2}'), item(("a", "b"), "5")], {"a": {"b": 5, "c": 2}}),
        ([item("a", "1"), item(("a", "b"), "5")], {"a": {"b": 5}}),
        ([item(("a", "b"), "5"), item("a", "1")], {"a": 1}),
        ([item("a", '{"b":1}'), item("a", '{"c":2}')], {"a": {"b": 1, "c": 2}}),
        ([item(("a", "b.c"), "1"), item("a.b", "2")], {"a.b.c": 1, "a.b": 2}),
        ([item("e", "{}"), item("x", "1")], {"x": 1}),
        ([item("e", '{"x":{}}'), item("x", "1")], {"x": 1}),
        ([item("", "1")], {"": 1}),
    ],
)
def test_items_of_a_row_become_a_tree(items: list[pb.HistoryItem], row: dict[str, Any]) -> None:
    (found,) = rows(history_record([*items, item("_step", "0")]))
    assert found == {**row, "_step": 0}


def test_row_of_an_old_file_keeps_empty_objects() -> None:
    (row,) = rows(row_record({"_step": 0, "e": {}, "m": {"o": 3}}, flat=True))
    assert row == {"_step": 0, "e": {}, "m": {"o": 3}}


def test_row_without_a_step_takes_that_beside_its_items() -> None:
    """Rows of the log format that W&B prepares had no step; neither had step 0 anywhere."""
    logged = [history_record([item("a", "1")], step=step) for step in (0, 5, 10)]
    payloads = [*logged, history_record([item("_step", "null")], step=12)]
    assert [row["_step"] for row in rows(*payloads)] == [0, 5, 10, 12]
    fold = fold_of(*payloads)
    assert (fold.last_step, fold.end_step, fold.stepless) == (12, 12, 0)


def test_rows_without_any_step_are_numbered() -> None:
    """Rows of shared mode had no step, so that they could not be told apart; W&B numbers them."""
    logged = [history_record([item("a", str(value))]) for value in (7, 8, 9)]
    payloads = [*logged[:2], row_record({"_step": 40}), history_record([]), *logged[2:]]
    assert [row["_step"] for row in rows(*payloads)] == [0, 1, 40, 2, 3]
    fold = fold_of(*payloads)
    assert (fold.rows, fold.last_step, fold.end_step, fold.stepless) == (5, 40, 3, 4)
    assert fold.summary == {"_step": 3}


def test_rows_without_a_step_are_numbered_from_the_start_in_each_file_unless_it_resumes() -> None:
    first = FileReading(fold=fold_of(run_record(), history_record([]), history_record([])))
    again = FileReading(fold=behind(first.fold))
    payloads = [run_record(), history_record([]), history_record([])]
    assert [row["_step"] for row in rows(*payloads, before=again)] == [0, 1]
    resumed = FileReading(fold=behind(first.fold), numbered_on=True)
    assert [row["_step"] for row in rows(*payloads, before=resumed)] == [2, 3]


def test_row_whose_step_is_no_number_has_none() -> None:
    (row,) = rows(history_record([item("_step", '"x"'), item("a", "1")]))
    assert row["_step"] == "x"
    assert fold_of(history_record([item("_step", '"x"')])).stepless == 0


# --- the config


def test_config_is_merged_leaf_by_leaf() -> None:
    """A change of one member dropped all others of the object."""
    fold = fold_of(
        run_record(config={"net": {"depth": 3, "d.x": 1, "deep": {"z": 1}}, "empty": {}}),
        config_record({"net": {"depth": 4}, "q": {"r": 1}}),
    )
    net = {"depth": 4, "d.x": 1, "deep": {"z": 1}}
    assert fold.config == {"net": net, "q": {"r": 1}}


def test_config_of_a_later_run_record_is_not_taken() -> None:
    """A change of the name put back what the config had been before it was changed."""
    fold = fold_of(
        run_record(config={"lr": 0.1}),
        config_record({"lr": 0.2}),
        run_record(config={"lr": 0.1}, display_name="renamed"),
    )
    assert fold.config == {"lr": 0.2}
    assert fold.run is not None
    assert fold.run.display_name == "renamed"


def test_config_of_an_old_file_is_replaced_key_by_key() -> None:
    fold = fold_of(
        run_record(config={"net": {"depth": 3, "x": 1}, "empty": {}}),
        config_record({"net": {"depth": 4}}, flat=True),
        header=LEGACY,
    )
    assert fold.config == {"net": {"depth": 4}, "empty": {}}


def test_removal_takes_objects_along_that_it_leaves_empty() -> None:
    fold = fold_of(run_record(config={"o": {"x": 1}, "p": 1}), config_record(removed=[("o", "x")]))
    assert fold.config == {"p": 1}


# --- the summary


@pytest.mark.parametrize(
    ("records", "summary"),
    [
        ([summary_record({"a": 1}), summary_record({("a", "b"): 2})], {"a": {"b": 2}}),
        ([summary_record({("a", "b"): 2}), summary_record({"a": 1})], {"a": 1}),
        (
            [summary_record({"a": {"b": 1, "c": 2}}), summary_record({("a", "b"): 5})],
            {"a": {"b": 5}},
        ),
        ([summary_record({"a": {"b": 1}}, removed=[("a", "b")])], {"a": {"b": 1}}),
        ([summary_record({("a", "b"): 1}, removed=[("a", "b")])], {}),
        ([summary_record({("a", "b"): 1, ("a", "c"): 2}, removed=["a"])], {}),
        ([summary_record({"a": None, "b": {}, "c": []})], {"b": {}, "c": []}),
        ([summary_record({"_step": 9})], {}),
    ],
)
def test_summary_is_what_its_changes_make(records: list[bytes], summary: dict[str, Any]) -> None:
    assert fold_of(run_record(), *records).summary == summary


def test_step_of_the_summary_is_that_of_the_last_row() -> None:
    """The record of a summary lies before that of its row: a torn file said one step too many."""
    fold = fold_of(run_record(), A_ROW, summary_record({"a": 2, "_step": 1}))
    assert fold.summary == {"a": 2, "_step": 0}


def test_summary_of_an_old_file_is_its_last_record_and_the_runtime() -> None:
    fold = fold_of(
        run_record(),
        summary_record({"a": 1, "gone": 1}, flat=True),
        exit_record(0, runtime=7),
        A_ROW,
        summary_record({"a": 2, "n": None}, flat=True),
        header=LEGACY,
    )
    assert fold.summary == {"a": 2, "n": None, "_step": 0, "_wandb": {"runtime": 7}}


@pytest.mark.parametrize(
    ("version", "runtime", "own"),
    [
        ("0.10.31", 0, None),
        ("", 0, None),
        ("0.12.0", 0, {"runtime": 0}),
        ("0.17.9", 5, {"runtime": 5}),
        ("", 5, {"runtime": 5}),
    ],
)
def test_runtime_is_in_the_summary_if_the_client_measured_it(
    version: str, runtime: int, own: dict[str, int] | None
) -> None:
    """Runs of SDK 0.10 and 0.11, which measure none, were said to have taken no time."""
    said = telemetry_record(version)
    end = exit_record(0, runtime=runtime)
    for before in ({}, {"_wandb": {"runtime": 17}}):
        last = summary_record({"a": 1, **before}, flat=True)
        summary = fold_of(run_record(), said, end, last, header=LEGACY).summary
        assert summary == {"a": 1, **before, **({} if own is None else {"_wandb": own})}


# --- resumed runs


def reading_of(payloads: list[bytes], before: RunFold, *, resumes: bool) -> FileReading:
    data = file_of([CORE, *payloads])
    return read_file(data, FileReading(fold=behind(before), numbered_on=resumes))


def test_resumed_run_counts_its_steps_on() -> None:
    """A run that was resumed offline begins again at step 0; W&B shows it behind the first part."""
    first = fold_of(run_record(), *[row_record({"_step": step}) for step in (0, 1, 10)])
    payloads = [run_record(resume=True), *[row_record({"_step": s}) for s in (5, 30, 30)]]
    before = FileReading(fold=behind(first), numbered_on=True)
    assert [row["_step"] for row in rows(*payloads, before=before)] == [11, 30, 31]
    fold = reading_of(payloads, first, resumes=True).fold
    assert (fold.rows, fold.last_step, fold.end_step) == (6, 31, 31)


def test_run_that_is_started_again_keeps_the_steps_as_written() -> None:
    first = fold_of(run_record(config={"a": 1}), *[row_record({"_step": step}) for step in (0, 1)])
    payloads = [run_record(config={"b": 1}), row_record({"_step": 0})]
    fold = reading_of(payloads, first, resumes=False).fold
    assert (fold.rows, fold.last_step, fold.end_step) == (3, 1, 0)
    assert fold.config == {"b": 1}


def test_resumed_run_keeps_the_config_that_it_does_not_set_and_names() -> None:
    first = fold_of(
        run_record(config={"n": {"x": 0}, "k": 1}, notes="old", tags=["x"], display_name="one"),
        summary_record({"a": 1, "s": 1}),
    )
    payloads = [run_record(config={"n": {"y": 1}}, resume=True, notes="new"), A_ROW]
    fold = reading_of(payloads, first, resumes=True).fold
    assert fold.config == {"n": {"y": 1}, "k": 1}
    assert fold.summary == {"_step": 0}
    assert fold.run is not None
    assert (fold.run.notes, fold.run.tags, fold.run.display_name) == ("new", ("x",), "one")


RESUMED = telemetry_record("0.25.0", resumed=True)


@pytest.mark.parametrize(
    ("later", "config"),
    [
        ([run_record(), RESUMED], {"lr": 0.1, "net": {"depth": 3, "act": "relu"}}),
        ([run_record(config={"net": {"depth": 5}}), RESUMED], {"lr": 0.1, "net": {"depth": 5}}),
        ([run_record(), config_record({"lr": 2}), RESUMED, config_record({"q": 1})],
         {"lr": 2, "net": {"depth": 3, "act": "relu"}, "q": 1}),
        ([run_record(), config_record(removed=["net"]), RESUMED], {"lr": 0.1}),
        ([run_record(), telemetry_record("0.25.0"), RESUMED, RESUMED],
         {"lr": 0.1, "net": {"depth": 3, "act": "relu"}}),
        ([run_record(config={"q": 1}), telemetry_record("0.25.0")], {"q": 1}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", [CORE, LEGACY])
def test_config_is_kept_when_telemetry_says_that_the_run_was_resumed(
    later: list[bytes], config: dict[str, Any], header: bytes
) -> None:
    """A run that was resumed by a script which set no config lost all of it (SDK before 0.30)."""
    first = fold_of(run_record(config={"lr": 0.1, "net": {"depth": 3, "act": "relu"}}))
    for border in range(len(later) + 1):  # wherever a sync came between
        pieces = FileReading(fold=behind(first))
        for some in (later[:border], later):
            pieces = read_file(file_of([header, *some]), pieces)
        assert pieces.fold.config == config


@pytest.mark.parametrize(
    ("header", "version", "charts"),
    [
        (CORE, "0.25.0", {"visualize": {"old": 1, "new": 1}}),
        (LEGACY, "0.16.6", {"visualize": {"old": 1, "new": 1}}),
        (LEGACY, "0.15.12", {"visualize": {"new": 1}}),
    ],
)
def test_resumed_config_keeps_charts_but_nothing_else_of_the_session_before(
    header: bytes, version: str, charts: dict[str, Any]
) -> None:
    first = fold_of(
        run_record(config={"_wandb": {"code_path": "a.py"}}),
        config_record({("_wandb", "visualize", "old"): 1}),
        header=header,
    )
    assert first.config == {"_wandb": {"code_path": "a.py", "visualize": {"old": 1}}}
    later = [
        header,
        run_record(config={"_wandb": {}}),
        config_record({("_wandb", "visualize", "new"): 1}),
        telemetry_record(version, resumed=True),
    ]
    fold = read_file(file_of(later), FileReading(fold=behind(first))).fold
    assert fold.config == {"_wandb": charts}


@pytest.mark.parametrize(
    ("payloads", "counts_on"),
    [
        ([run_record(resume=True), RESUMED, A_ROW], True),
        ([run_record(resume=True), A_ROW, exit_record()], False),
        ([run_record(resume=True)], False),
        ([run_record(), RESUMED], False),
        ([RESUMED, run_record(resume=True), telemetry_record("0.31.0"), A_ROW], False),
        ([run_record(resume=True), run_record(), *[A_ROW] * 999, RESUMED], False),
    ],
)
def test_steps_of_a_run_that_was_resumed_online_count_on_by_themselves(
    payloads: list[bytes], counts_on: bool
) -> None:
    """A run that was killed has rows that W&B never got; those of the resumed one moved behind."""
    run = identify(file_of([CORE, *payloads]))
    assert run is not None
    assert run.counts_on == counts_on


def test_resumed_run_without_rows_keeps_its_summary() -> None:
    first = fold_of(run_record(), summary_record({"a": 1}))
    assert reading_of([run_record(resume=True)], first, resumes=True).fold.summary == {"a": 1}


def test_fork_of_a_run_keeps_its_branch_point() -> None:
    point = pb.BranchPoint(run="parent", metric="_step", value=3)
    fold = fold_of(run_record(branch_point=point))
    assert fold.branch_points == (BranchPoint(run_id="parent", metric="_step", value=3.0),)


# --- the state


@pytest.mark.parametrize(
    ("records", "idle", "state"),
    [
        ([exit_record(0)], 0.0, "finished"),
        ([exit_record(1)], 0.0, "failed"),
        ([exit_record(255)], 0.0, "failed"),
        ([exit_record(254)], 0.0, "crashed"),
        ([], 299.0, "running"),
        ([], 300.0, "crashed"),
        ([PREEMPTING], 299.0, "running"),
        ([PREEMPTING], 300.0, "preempted"),
        ([PREEMPTING, exit_record(1)], 0.0, "preempted"),
        ([PREEMPTING, exit_record(0)], 0.0, "finished"),
        ([exit_record(1), exit_record(0)], 0.0, "failed"),
    ],
)
def test_state_is_that_of_the_server(records: list[bytes], idle: float, state: str) -> None:
    fold = fold_of(run_record(), *records)
    assert state_of(fold, STARTED + 600.0, STARTED + 600.0 + idle) == state


@pytest.mark.parametrize(
    ("records", "later", "state"),
    [
        ([run_record()], DAY - 1, "running"),
        ([run_record()], DAY, "crashed"),
        ([run_record(), A_LATER_ROW], 2 * DAY - 1, "running"),
        ([run_record(), A_LATER_ROW], 2 * DAY, "crashed"),
        ([run_record(started=None), A_LATER_ROW], 2 * DAY, "crashed"),
        ([run_record(), PREEMPTING], 5_000 * DAY, "preempted"),
        ([run_record(), row_record({"_step": 0, "_timestamp": 9e10})], 5_000 * DAY, "running"),
        ([run_record(started=None), A_ROW], 5_000 * DAY, "running"),
    ],
)
def test_file_that_was_written_to_just_now_is_running_if_its_records_are_of_late(
    records: list[bytes], later: float, state: str
) -> None:
    """Each folder of a fresh clone was running, though its runs had ended years ago."""
    now = STARTED + later
    assert state_of(fold_of(*records), now, now) == state


def test_resumed_run_goes_on_though_its_first_file_is_old() -> None:
    first = fold_of(run_record(), A_ROW)
    started = datetime.fromtimestamp(STARTED + 30 * DAY, UTC).isoformat()
    fold = reading_of([run_record(started=started)], first, resumes=False).fold
    assert state_of(fold, STARTED + 30 * DAY, STARTED + 30 * DAY + 9) == "running"


# --- trees


def test_tree_returns_its_leaves() -> None:
    leaves: tuple[tuple[tuple[str, ...], Any], ...] = (
        (("a", "b"), {"x": {}}),
        (("a", "c"), None),
        (("d",), 1),
    )
    assert tuple(Tree(leaves).leaves()) == leaves
    assert Tree(leaves).members() == {"a": {"b": {"x": {}}, "c": None}, "d": 1}
