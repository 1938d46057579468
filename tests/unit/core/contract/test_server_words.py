"""What GraphQL errors mean: by their words, as wandb-core passes them on."""

import pytest

from dr_wandb.core.contract.server_words import may_be_about_one_run, refuses


@pytest.mark.parametrize(
    "text",
    [
        "input: could not load config\n",
        "input: project.runs Error 1040: too many connections\n",
        "input: project.runs.edges[3].node context deadline exceeded\n",
        "input: one\ninput: a[1] two\n",
        "input: run config not found in storage\n",
    ],
)
def test_errors_may_be_about_one_run(text: str) -> None:
    assert may_be_about_one_run(text)


@pytest.mark.parametrize(
    "text",
    [
        'input:4:7: Cannot query field "systemMetrics" on type "Run".\n',
        'input:1:3: Unknown argument "liveKeys" on field "parquetHistory"\n',
        "input: Syntax Error GraphQL request (1:1)\n",
        'input: Variable "$filters" got invalid value\n',
        "input: project entity/project not found\n",
        "input: could not find project\n",
        "input: invalid filter: unknown operator $has\n",
        "returned error 400: could not load config",
        "EOF",
    ],
)
def test_other_errors_are_about_the_whole_request(text: str) -> None:
    assert not may_be_about_one_run(text)


@pytest.mark.parametrize(
    "message",
    [
        "permission denied",
        "PERMISSION_ERROR",
        "You do not have permission to access this",
        "user does not have read permission for run history",
        "It appears that you do not have permission to access the requested resource.",
        "insufficient permissions",
        "Forbidden",
        "access denied",
        "not authorized",
        "payment required",
        "Permission Denied: run history requires a paid plan",
        "run history is not available on your plan",
    ],
)
def test_refusal_is_known_by_its_words(message: str) -> None:
    for text in (f"input: {message}\n", f"input:3:5: {message}\n", f"input: project.run {message}"):
        assert refuses(text)
        assert not may_be_about_one_run(text)


@pytest.mark.parametrize(
    "text",
    [
        "input: storage error: open /var/gorilla/history: permission denied\n",
        "input: could not load config\n",
        "input: rate limited\n",
        "file transfer: download: failed to download: status: 403 Forbidden",
        "permission denied",
    ],
)
def test_other_errors_are_no_refusal(text: str) -> None:
    assert not refuses(text)
