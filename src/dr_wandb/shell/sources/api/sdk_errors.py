"""The meaning of the SDK's errors (measured with wandb 0.29 to 0.31).

Rules
- If wandb-core retried, the status is only in the error's text, and for files (0.29) not even
  there: an error after such retries is worth another try.
- Only wandb-core's own words are read, never those of the answer, except the words for a missing
  permission: a GraphQL answer of status 200 has no other sign of it.
"""

import errno
import json
import os
import re
from enum import Enum

from wandb.errors import AuthenticationError, CommError, UsageError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.mailbox import MailboxClosedError

from dr_wandb.core.contract.failures import Failure, KeyRefused, NoApiKey, Unreachable
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.server_words import is_graphql_errors, refuses
from dr_wandb.core.sync.scrub import scrub_text

SDK_ERRORS = (
    CommError,
    UsageError,
    WandbApiFailedError,
    MailboxClosedError,
    ValueError,
    TimeoutError,
    OSError,
)

THROTTLED_STATUS = 429
UNAVAILABLE_STATUS = 503
KEY_REFUSED_STATUS = 401
REFUSED_STATUS = frozenset({402, 403})
PASSING_STATUS = frozenset({408, *range(500, 600)} - {501, 505})

_GAVE_UP = "giving up after "
_BUSY = "service process is busy and did not respond in time"
_CUT_SHORT = "unexpected EOF"
_NOTHING = "EOF"
"""The complete text of an error for an answer of no bytes."""

_TOO_SLOW = (
    "(Client.Timeout or context cancellation while reading body)",
    "context deadline exceeded",
)
"""An answer that had started, and was not complete in time."""
_NOBODY_THERE = ("connection refused", "no such host", "network is unreachable", "no route to host")
_RETRIED = re.compile(
    r"giving up after \d+ attempt\(s\)(?:: unexpected HTTP status \d+[^\n]*)?"
    r"\s+while retrying: (?:HTTP|unexpected HTTP status) (\d{3})\b"
)
_XML = ": body: <"
"""The body of a storage's refusal follows, which contains its own ids."""
_FILE_STATUS = re.compile(r"^file transfer: download: failed to download: status: (\d{3})\b")
_RETURNED = re.compile(r"^returned error (\d{3})\b(?:: )?(.*)", re.DOTALL)
"""How wandb-core reports the status and the body of an answer that it does not retry."""
_PREFIX = re.compile(r"^giving up after \d+ attempt\(s\):? ?(?:while retrying: )?(?=\S)")


_FULL = {"no space left on device": errno.ENOSPC, "disk quota exceeded": errno.EDQUOT}
_NOT_WRITTEN = re.compile(rf"\w+ (?P<path>/.*): (?P<why>{'|'.join(_FULL)})")
"""The complete text of wandb-core's error for a file that it cannot write to a full disk."""


class Trouble(Enum):
    """The kind of trouble of an error."""

    THROTTLED = "throttled"
    PASSING = "passing"
    FINAL = "final"


def trouble_of(error: BaseException) -> Trouble:
    """Return whether a failed request is worth another try, and whether all must wait."""
    text = str(error.__cause__ or error)
    status = status_of(error)
    if isinstance(error, TimeoutError):
        return Trouble.PASSING
    return trouble_of_text(text) if status in (0, 200) else _trouble_of_status(status)


def trouble_of_text(text: str) -> Trouble:
    """Return the kind of trouble by wandb-core's text, for an error without a status."""
    found = _RETRIED.search(text) or _FILE_STATUS.search(text)
    if found:
        return _trouble_of_status(int(found[1]))
    cut = text.rstrip().endswith((_CUT_SHORT, *_TOO_SLOW)) or text.strip() == _NOTHING
    passing = _GAVE_UP in text or _BUSY in text or cut
    return Trouble.PASSING if passing else Trouble.FINAL


def full_disk(error: BaseException) -> OSError | None:
    """Return the error of a full disk here, if the SDK or wandb-core met one while it wrote."""
    for one in (error, error.__cause__):
        if isinstance(one, OSError) and one.errno in _FULL.values():
            return one
    found = _NOT_WRITTEN.fullmatch(str(error.__cause__ or error).strip())
    if found is None:
        return None
    number = _FULL[found["why"]]
    return OSError(number, os.strerror(number), found["path"])


def may_be_too_much(error: BaseException) -> bool:
    """Say whether trouble that may pass could be due to the size of the answer.

    So may a timeout, 502, 504, an answer cut off, or a dropped connection; only 503 says that the
    server takes no request at all.
    """
    found = _RETRIED.search(str(error.__cause__ or error))
    return UNAVAILABLE_STATUS not in (status_of(error), int(found[1]) if found else 0)


def is_refusal(error: BaseException) -> bool:
    """Say whether W&B was reached, but refuses this to the key in use.

    By 402, 403, or words for it in a GraphQL answer. A refused file does not count: its address
    may only have expired.
    """
    text = str(error.__cause__ or error)
    if _FILE_STATUS.search(text):
        return False
    return _reported_status(error) in REFUSED_STATUS or refuses(text)


def is_refusal_of_key(error: BaseException) -> bool:
    """Say whether W&B no longer accepts the key in use."""
    return _reported_status(error) == KEY_REFUSED_STATUS


def _reported_status(error: BaseException) -> int:
    """Return the HTTP status of an error, also if it is only in the text; 0 if there is none."""
    returned = _RETURNED.match(str(error.__cause__ or error))
    return int(returned[1]) if returned else status_of(error)


def has_answered(error: BaseException) -> bool:
    """Say whether the host was reached: it answered with a status, or with GraphQL errors."""
    text = str(error.__cause__ or error)
    return bool(_reported_status(error) or _RETRIED.search(text) or is_graphql_errors(text))


def _trouble_of_status(status: int) -> Trouble:
    if status == THROTTLED_STATUS:
        return Trouble.THROTTLED
    return Trouble.PASSING if status in PASSING_STATUS else Trouble.FINAL


def is_late(error: BaseException) -> bool:
    """Say whether wandb-core had no answer in time."""
    return _BUSY in str(error.__cause__ or error)


def kind_of(error: BaseException) -> RunFailureKind:
    """Return the kind of a failure that is neither a refusal nor throttling."""
    text = str(error.__cause__ or error)
    if isinstance(error, TimeoutError) or is_late(error) or text.rstrip().endswith(_TOO_SLOW):
        return RunFailureKind.TIMEOUT
    if has_answered(error) or _FILE_STATUS.search(text):
        return RunFailureKind.SERVER_ERROR
    if trouble_of(error) is Trouble.PASSING or any(words in text for words in _NOBODY_THERE):
        return RunFailureKind.UNREACHABLE
    if isinstance(error, ValueError):  # the answer is not JSON
        return RunFailureKind.UNUSABLE_ANSWER
    return RunFailureKind.UNEXPECTED


def nobody_there(error: BaseException) -> bool:
    """Say whether the host cannot be reached at all, so that waiting hardly helps."""
    text = str(error)
    return _GAVE_UP in text and any(words in text for words in _NOBODY_THERE)


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error of the SDK, 0 if there is none."""
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        status = getattr(response, "http_status", 0)
        if isinstance(status, int) and status:
            return status
    return 0


def reason_of(error: BaseException) -> str:
    """Return the text of an SDK error on one line, without wandb-core's repetitions."""
    text = " ".join(str(error).split()) or type(error).__name__
    if text.endswith(_TOO_SLOW) or _BUSY in text:
        return "no whole answer in time; --timeout-seconds sets the limit"
    text = text.partition(_XML)[0]
    gave_up = text.rfind(_GAVE_UP)
    if gave_up >= 0:
        text = text[gave_up:]
    text = text.partition(" while retrying: Post ")[0]
    returned = _RETURNED.match(text)
    if returned:
        text = f"HTTP {returned[1]}: {_said_in(returned[2])}".removesuffix(": ")
    text = scrub_text(_PREFIX.sub("", text))
    status = status_of(error)
    if status and not text.startswith("HTTP "):
        text = f"HTTP {status}: {text}"
    return text if len(text) <= 300 else f"{text[:297]}..."


def _said_in(body: str) -> str:
    """Return the messages in the body of an answer, or the body if it has none."""
    try:
        errors = json.loads(body)["errors"]
        said = "; ".join(str(error["message"]) for error in errors)
    except (ValueError, TypeError, KeyError):
        return body
    return said or body


def explain(error: BaseException, host: str) -> Failure:
    """Return the failure that kept a session from being opened.

    The SDK raises AuthenticationError for every reason, also for an unreachable host.
    """
    reason = reason_of(error)
    if isinstance(error, UsageError) and not isinstance(error, AuthenticationError):
        return NoApiKey(host=host)
    if status_of(error) in (401, 403):
        return KeyRefused(host=host)
    rejected_locally = isinstance(error, AuthenticationError) and error.__cause__ is None
    if rejected_locally:
        return KeyRefused(host=host, detail=reason)
    return Unreachable(host=host, detail=reason, answered=has_answered(error))
