"""Which kind of failure an error of the SDK is, by what wandb-core says (wandb 0.29 to 0.31)."""

import errno
from types import SimpleNamespace

import pytest
from wandb.errors import CommError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.mailbox import MailboxClosedError

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.downloads import _missing
from dr_wandb.shell.sources.api.sdk_errors import full_disk
from dr_wandb.shell.sources.api.translation import translate

GAVE_UP = "giving up after 2 attempt(s)"
POST = "Post https://api.wandb.ai/graphql"


def with_status(status: int, text: str) -> WandbApiFailedError:
    response = SimpleNamespace(http_status=status, error_type=0, message=text)
    error = WandbApiFailedError(text)
    error.response = response
    return error


KINDS = [
    (CommError("returned error 403: {}"), RunFailureKind.REFUSED),
    (CommError("returned error 402: {}"), RunFailureKind.REFUSED),
    (CommError("input: permission denied [project run]"), RunFailureKind.REFUSED),
    (
        CommError(f"{GAVE_UP} while retrying: HTTP 429 Too Many Requests"),
        RunFailureKind.THROTTLED,
    ),
    (CommError(f"{GAVE_UP} while retrying: HTTP 503 no"), RunFailureKind.SERVER_ERROR),
    (with_status(504, "no"), RunFailureKind.SERVER_ERROR),
    (with_status(404, "no"), RunFailureKind.SERVER_ERROR),
    (CommError("input: column does not exist"), RunFailureKind.SERVER_ERROR),
    (CommError('input: Cannot query field "notes" on type "Run".'), RunFailureKind.SERVER_ERROR),
    (
        CommError("file transfer: download: failed to download: status: 403: body: <x/>"),
        RunFailureKind.SERVER_ERROR,
    ),
    (TimeoutError("no"), RunFailureKind.TIMEOUT),
    (
        CommError("the service process is busy and did not respond in time"),
        RunFailureKind.TIMEOUT,
    ),
    (CommError(f"{GAVE_UP}: {POST}: context deadline exceeded"), RunFailureKind.TIMEOUT),
    (CommError(f"{GAVE_UP}: {POST}: connection reset by peer"), RunFailureKind.UNREACHABLE),
    (CommError(f"{POST}: dial tcp: no such host"), RunFailureKind.UNREACHABLE),
    (CommError("unexpected EOF"), RunFailureKind.UNREACHABLE),
    (ValueError("W&B's answer is not valid JSON"), RunFailureKind.UNUSABLE_ANSWER),
    (MailboxClosedError(), RunFailureKind.UNEXPECTED),
]


@pytest.mark.parametrize(("error", "kind"), KINDS, ids=lambda one: str(one)[:60])
def test_error_of_the_sdk_has_the_kind_that_it_speaks_of(
    error: Exception, kind: RunFailureKind
) -> None:
    failure = translate(error).failure
    assert failure.kind == kind
    assert failure.reason == str(translate(error))


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        (["file transfer: download: failed to download: status: 403"], "server_error"),
        ([f"{GAVE_UP} while retrying: HTTP 429 no", "status"], "throttled"),
        ([f"{GAVE_UP}: Get x: connection reset", "gone"], "unreachable"),
        (["the disk is strange"], "unexpected"),
    ],
)
def test_exported_files_that_did_not_come_have_the_kind_of_the_first(
    reasons: list[str], kind: str
) -> None:
    missing = _missing(reasons)
    assert isinstance(missing, SourceError)
    failure = missing.failure
    assert failure.kind == kind
    assert failure.reason.startswith(f"{len(reasons)} exported Parquet files")


NO_SPACE = "no space left on device"


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(f"write /exports/a: b/x.parquet: {NO_SPACE}"), errno.ENOSPC),
        (CommError(f"open /exports/x: {NO_SPACE}"), errno.ENOSPC),
        (CommError("write /exports/x: disk quota exceeded"), errno.EDQUOT),
        (OSError(errno.ENOSPC, "No space left on device", "/exports/x"), errno.ENOSPC),
    ],
)
def test_full_disk_is_known_by_the_words_for_it(error: Exception, number: int) -> None:
    full = full_disk(error)
    assert full is not None
    assert full.errno == number
    assert str(full.filename).startswith("/exports/")


@pytest.mark.parametrize(
    "error",
    [
        CommError(f"returned error 500: write /var/x: {NO_SPACE}"),
        CommError(
            f"file transfer: download: failed to download: status: 507: write /x: {NO_SPACE}"
        ),
        CommError(f"write to the table: {NO_SPACE}"),
        CommError(NO_SPACE),
        PermissionError(errno.EACCES, "Permission denied", "/exports/x"),
    ],
)
def test_full_disk_of_the_server_is_not_ours(error: Exception) -> None:
    assert full_disk(error) is None


def test_full_disk_counts_before_other_files_that_did_not_come() -> None:
    error = _missing(["gone", f"write /exports/x: {NO_SPACE}"])
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
