"""Failures as people and programs see them."""

import pickle

import pytest

from dr_wandb.core.contract import failures
from dr_wandb.core.contract.failures import (
    EXIT_CODES,
    DrWandbError,
    Failure,
    NoApiKey,
)
from tests.support.failure_examples import EXAMPLES


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
        "data/a/state.json belongs to ml/moe, not ml/base; use another --name\n"
        "if the project was renamed or moved, sync once with --moved-from ml/moe"
    )


def test_base_class_of_failures_has_no_description() -> None:
    with pytest.raises(TypeError):
        Failure().describe()


def test_error_survives_pickling() -> None:
    error = DrWandbError(NoApiKey(host="h"))
    again = pickle.loads(pickle.dumps(error))
    assert again.failure == error.failure
