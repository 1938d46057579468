"""The one error for all mistakes in what is asked for."""

import copy
import pickle
from collections.abc import Callable

import msgspec
import pytest

from dr_wandb.core.contract.failures import EXIT_USAGE, DrWandbError, InvalidRequest
from dr_wandb.core.contract.problems import InvalidRequestError, name_problems
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow

PROBLEMS = ("name must not be blank", "mode must be one of metadata, history, not 'x'")


def test_error_is_a_value_error_and_one_of_the_library() -> None:
    error = InvalidRequestError(iter(PROBLEMS))
    assert isinstance(error, ValueError)
    assert isinstance(error, DrWandbError)
    assert error.problems == PROBLEMS
    assert error.failure == InvalidRequest(problems=PROBLEMS)
    assert error.exit_code == EXIT_USAGE
    assert str(error) == "; ".join(PROBLEMS)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_error_is_whole_in_another_process(
    copied: Callable[[InvalidRequestError], InvalidRequestError],
) -> None:
    """It came back with a problem for each letter of its text."""
    error = copied(InvalidRequestError(PROBLEMS))
    assert type(error) is InvalidRequestError
    assert (error.problems, str(error)) == (PROBLEMS, "; ".join(PROBLEMS))


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        (ExportRequest, {"entity": "e", "project": "p", "name": ".."}, "folder name of its own"),
        (RunScope, {"states": [" "], "created_after": "soon"}, "blank value; created_after must"),
        (HistoryWindow, {"min_step": -1}, "min_step must be 0 or more"),
        (HistorySelection, {"keys": [""]}, "must not be blank"),
        (HistorySelection, {"window": {"max_records": 0}}, "max_records must be 1 or more"),
    ],
)
def test_decoding_refuses_what_the_constructor_refuses(
    kind: type, content: dict[str, object], text: str
) -> None:
    decoders: tuple[Callable[[], object], ...] = (
        lambda: msgspec.convert(content, kind),
        lambda: msgspec.json.decode(msgspec.json.encode(content), type=kind),
    )
    for decode in decoders:
        with pytest.raises(msgspec.ValidationError, match=text) as caught:
            decode()
        assert not isinstance(caught.value, DrWandbError)


@pytest.mark.parametrize("value", [None, 5, b"name", ["name"], "", " ", "\t"])
def test_name_must_be_text_that_is_not_blank(value: object) -> None:
    assert len(name_problems("name", value)) == 1
