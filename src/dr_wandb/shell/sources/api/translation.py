"""Translate errors of the SDK into those that the pacer and the callers handle."""

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.server_words import may_be_about_one_run
from dr_wandb.core.sync.left_out import unknown_fields
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.pacing import LateError, PassingError, ThrottledError
from dr_wandb.shell.sources.api.sdk_errors import (
    Trouble,
    has_answered,
    is_late,
    is_refusal,
    kind_of,
    may_be_too_much,
    reason_of,
    trouble_of,
)


class TooMuchError(PassingError):
    """A request failed in a way that may pass, or that a smaller request might avoid."""


class LateAnswerError(TooMuchError, LateError):
    """A request was not answered in time; a smaller one might be."""


class UnservedError(SourceError):
    """An answer of GraphQL errors, which a request for fewer runs might avoid."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, RunFailureKind.SERVER_ERROR, answered=True)


class UnknownFieldsError(SourceError):
    """A document names fields that the server does not know: `fields`, see left_out.py."""

    def __init__(self, reason: str, fields: tuple[str, ...]) -> None:
        super().__init__(reason, RunFailureKind.SERVER_ERROR, answered=True)
        self.fields = fields


def translate(error: BaseException) -> SourceError:
    """Return the SourceError for an error of the SDK."""
    reason, there = reason_of(error.__cause__ or error), has_answered(error)
    match trouble_of(error):
        case Trouble.THROTTLED:
            return ThrottledError(reason)
        case Trouble.PASSING:
            if is_late(error):
                return LateAnswerError(reason)
            passing = TooMuchError if may_be_too_much(error) else PassingError
            return passing(reason, kind_of(error), answered=there)
        case Trouble.FINAL:
            text = str(error.__cause__ or error)
            fields = unknown_fields(text)
            if fields:
                return UnknownFieldsError(reason, fields)
            if is_refusal(error):
                return SourceError(reason, RunFailureKind.REFUSED)
            if may_be_about_one_run(text):
                return UnservedError(reason)
            return SourceError(reason, kind_of(error), answered=there)
