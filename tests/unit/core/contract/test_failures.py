"""Failures as people and programs see them."""

import pickle

import pytest

from dr_wandb.core.contract import failures
from dr_wandb.core.contract.failures import (
    EXIT_CODES,
    AccessRefused,
    BadEnvironment,
    DamagedFile,
    DiskRefused,
    DrWandbError,
    Failure,
    InTheWay,
    InvalidRequest,
    KeyRefused,
    LeadsOutside,
    Locked,
    MixedRuns,
    NewerSchema,
    NoApiKey,
    NoExport,
    NoProject,
    NotRecorded,
    RunsVanished,
    ServerTooOld,
    Unfinished,
    Unreachable,
    WrongExport,
)

EXAMPLES: list[tuple[Failure, int]] = [
    (InvalidRequest(problems=("name must not be blank", "mode must be one of a, b")), 2),
    (WrongExport(path="data/a/state.json", found="ml/moe", wanted="ml/base"), 2),
    (NoProject(entity="ml", project="moe"), 4),
    (AccessRefused(entity="ml", project="moe", detail="HTTP 403"), 4),
    (BadEnvironment(problems=("WANDB_MODE='x': Input should be 'online'",)), 2),
    (NoApiKey(host="api.wandb.ai"), 4),
    (KeyRefused(host="api.wandb.ai"), 4),
    (KeyRefused(host="api.wandb.ai", detail="expired"), 4),
    (Unreachable(host="api.wandb.ai", detail="HTTP 503"), 5),
    (Unreachable(host="api.wandb.ai"), 5),
    (Unreachable(host="api.wandb.ai", detail="HTTP 503", answered=True), 5),
    (ServerTooOld(host="wandb.example", fields=("historyKeys", "state")), 5),
    (DamagedFile(path="data/a/runs.jsonl", line=3, reason="torn", remedy="restore it"), 6),
    (DamagedFile(path="data/a/state.json", reason="torn", remedy="restore it"), 6),
    (NewerSchema(path="data/a/state.json", found=3, known=2), 6),
    (NoExport(path="data/a"), 6),
    (Locked(path="data/a", holder="process 4"), 7),
    (NotRecorded(path="rec", question="run abc"), 8),
    (DiskRefused(path="data/a", reason="disk full"), 9),
    (Unfinished(path="data/a/runs.jsonl", reason="disk full"), 9),
    (InTheWay(path="data/a/.staging", found="a file", wanted="a folder"), 9),
    (RunsVanished(name="a", vanished=9, known=10), 10),
    (LeadsOutside(path="data/a", target="/elsewhere/b"), 2),
    (MixedRuns(run_id="run", projects=("ml/base", "ml/moe")), 2),
]


@pytest.mark.parametrize(("failure", "code"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_failure_describes_itself_in_one_or_two_lines(failure: Failure, code: int) -> None:
    lines = failure.describe().splitlines()
    assert 1 <= len(lines) <= 2
    assert all(line and line[0] != " " and not line.startswith("Error") for line in lines)
    assert "None" not in failure.describe()
    assert DrWandbError(failure).exit_code == code
    assert str(DrWandbError(failure)) == failure.describe()


def test_every_kind_of_failure_has_an_exit_code_and_an_example() -> None:
    kinds = {
        kind
        for kind in vars(failures).values()
        if isinstance(kind, type) and issubclass(kind, Failure) and kind is not Failure
    }
    assert kinds == set(EXIT_CODES) == {type(failure) for failure, _ in EXAMPLES}
    assert 0 not in EXIT_CODES.values()
    assert 1 not in EXIT_CODES.values()


def test_wrong_export_is_described_as_documented() -> None:
    assert EXAMPLES[1][0].describe() == (
        "data/a/state.json belongs to ml/moe, not ml/base; use another --name"
    )


def test_base_class_of_failures_has_no_description() -> None:
    with pytest.raises(TypeError):
        Failure().describe()


def test_error_survives_pickling() -> None:
    error = DrWandbError(NoApiKey(host="h"))
    again = pickle.loads(pickle.dumps(error))
    assert again.failure == error.failure
