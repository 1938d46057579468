"""Variables of W&B's SDK that are wrong: each is named, without a traceback."""

from pathlib import Path

import pytest

from dr_wandb import DrWandbError, ExportRequest
from dr_wandb.core.contract.failures import BadEnvironment
from dr_wandb.shell.inspect.doctor import diagnose
from dr_wandb.shell.sources.api.environment import KEY, check_environment, find_problems
from dr_wandb.shell.sources.opening import open_api

WRONG = {
    "WANDB_BASE_URL": ["wandb.ai", "", " ", "ftp://x", "https://wandb.ai", "http://x:99999"],
    "WANDB_HTTP_TIMEOUT": ["abc", "1.5", ""],
    "WANDB_MODE": ["foo"],
    "WANDB_RESUME": ["sometimes"],
    "WANDB_RUN_ID": ["a/b"],
    "WANDB_INIT_TIMEOUT": ["soon"],
    "WANDB_X_DISABLE_STATS": ["maybe"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_refused_variable_is_named_with_the_reason(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    request = ExportRequest(entity="e", project="p", name="n", data_root=tmp_path)
    with pytest.raises(DrWandbError) as caught:
        open_api(request, tmp_path)
    assert isinstance(caught.value.failure, BadEnvironment)
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"the environment: {name}={value!r}")
    assert second == "set it right, or unset the variable"
    assert "pydantic" not in first
    assert caught.value.exit_code == 2
    checks = [check for check in diagnose("e", "p", tmp_path).checks if not check.ok]
    assert [check.name for check in checks] == ["environment"]
    assert checks[0].found.startswith(f"{name}={value!r}")


def test_every_refused_variable_is_named_at_once() -> None:
    wrong = {"WANDB_MODE": "foo", "WANDB_RESUME": "bar", "WANDB_PROJECT": "left over"}
    problems = list(find_problems(wrong))
    assert [problem.partition("=")[0] for problem in problems] == ["WANDB_MODE", "WANDB_RESUME"]


def test_white_space_around_the_key_is_removed_and_the_key_is_not_printed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = {KEY: " secret\n"}
    with caplog.at_level("WARNING"):
        check_environment(environment)
    assert environment == {KEY: "secret"}
    assert "white space" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "value", ["user:pass-word@wandb.example", "ftp://user:pass-word@x", "http://pass-word@x:99999"]
)
def test_password_in_an_address_is_not_printed(value: str) -> None:
    (problem,) = find_problems({"WANDB_BASE_URL": value})
    assert "pass-word" not in problem
    assert "[removed]@" in problem


def test_variables_that_are_right_or_of_others_are_fine() -> None:
    fine = {
        "WANDB_BASE_URL": "http://127.0.0.1:80",
        "WANDB_HTTP_TIMEOUT": "20",
        "WANDB_PROJECT": "x",
        "WANDB_UNKNOWN": "y",
        "OTHER": "",
    }
    check_environment(fine)
