"""The error of a source: it has a failure, and survives the way from another process."""

import pickle

import pytest

from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.pacing import LateError, PassingError, ThrottledError
from dr_wandb.shell.sources.api.translation import (
    LateAnswerError,
    TooMuchError,
    UnknownFieldsError,
    UnservedError,
)

ERRORS = [
    SourceError("why", RunFailureKind.UNREADABLE),
    SourceError("why", RunFailureKind.NOT_FOUND, retryable=False),
    SourceError("why", RunFailureKind.REFUSED),
    PassingError("why", RunFailureKind.SERVER_ERROR, answered=True),
    TooMuchError("why", RunFailureKind.UNREACHABLE),
    LateError("why"),
    LateAnswerError("why"),
    ThrottledError("why"),
    UnservedError("why"),
    UnknownFieldsError("why", ("tags",)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_is_pickled_with_all_that_it_says(error: SourceError) -> None:
    """An executor that cannot read an error of its worker is broken for good."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == "why"
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LateError("why"), RunFailureKind.TIMEOUT),
        (LateAnswerError("why"), RunFailureKind.TIMEOUT),
        (ThrottledError("why"), RunFailureKind.THROTTLED),
        (UnservedError("why"), RunFailureKind.SERVER_ERROR),
        (UnknownFieldsError("why", ()), RunFailureKind.SERVER_ERROR),
    ],
    ids=lambda one: type(one).__name__,
)
def test_error_of_one_kind_names_it_itself(error: SourceError, kind: RunFailureKind) -> None:
    assert error.failure == RunFailure(kind=kind, reason="why")


@pytest.mark.parametrize("kind", RunFailureKind)
def test_refusal_is_an_answer_that_is_not_worth_another_try(kind: RunFailureKind) -> None:
    error = SourceError("why", kind)
    refused = kind == RunFailureKind.REFUSED
    assert (error.refused, error.answered, error.retryable) == (refused, refused, not refused)
