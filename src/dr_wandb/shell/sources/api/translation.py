"""Errors of the SDK as those that the pacer, and whoever asked, go by."""

from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.pacing import PassingError, ThrottledError
from dr_wandb.shell.sources.api.sdk_errors import Trouble, may_be_too_much, reason_of, trouble_of


class TooMuchError(PassingError):
    """A request failed in a way that may pass, or that it would not if less were asked for."""


def translate(error: BaseException) -> SourceError:
    """Return what an error of the SDK is to the pacer and to whoever asked."""
    reason = reason_of(error.__cause__ or error)
    match trouble_of(error):
        case Trouble.THROTTLED:
            return ThrottledError(reason)
        case Trouble.PASSING:
            return TooMuchError(reason) if may_be_too_much(error) else PassingError(reason)
        case Trouble.FINAL:
            return SourceError(reason)
