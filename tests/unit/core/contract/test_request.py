"""Requests and selections, by example."""

import ast
import inspect
import typing
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dr_wandb.cli import run
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.selection import (
    EVERYTHING,
    HistorySelection,
    HistoryWindow,
    build_selection,
)

GOOD: dict[str, Any] = {"entity": "team", "project": "project", "name": "name"}


def test_request_has_the_defaults_of_the_command() -> None:
    request = ExportRequest(**GOOD)
    assert request.mode == ExportMode.METADATA
    assert request.sync_mode == SyncMode.INCREMENTAL
    assert request.data_root == Path("data")
    assert request.include_metadata is False
    assert request.selection == EVERYTHING


def seen_by_type_checkers() -> dict[str, Any]:
    """Return the type of each parameter that type checkers see when a request is made."""
    [function] = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(ExportRequest)))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    names = vars(typing) | vars(inspect.getmodule(ExportRequest))
    return {
        parameter.arg: eval(ast.unparse(parameter.annotation), names)
        for parameter in function.args.kwonlyargs
        if parameter.annotation is not None
    }


def test_type_checkers_see_every_field_of_a_request() -> None:
    """The parameters are written down again, since more is accepted than the fields hold."""
    fields = typing.get_type_hints(ExportRequest)
    seen = seen_by_type_checkers()
    assert list(seen) == list(ExportRequest.__struct_fields__)
    wider = {name for name, kind in seen.items() if kind != fields[name]}
    assert wider == {"mode", "sync_mode", "data_root", "follow_links"}


@pytest.mark.parametrize(("name", "kind"), [("mode", ExportMode), ("sync_mode", SyncMode)])
def test_type_checkers_see_every_text_that_is_taken_for_an_enum(
    name: str, kind: type[StrEnum]
) -> None:
    enum, texts = typing.get_args(seen_by_type_checkers()[name])
    assert enum is kind
    assert typing.get_args(texts) == tuple(kind)
    for text in typing.get_args(texts):
        assert type(getattr(ExportRequest(**GOOD, **{name: text}), name)) is kind


def test_all_problems_are_reported_at_once_in_the_order_of_the_fields() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ExportRequest(
            entity="",
            project="a/b",
            name="../../etc",
            mode="all",  # type: ignore[arg-type]
            sync_mode="full",  # type: ignore[arg-type]
            runs_per_page=0,
            timeout_seconds=True,
        )
    fields = [problem.split(" ")[0] for problem in caught.value.problems]
    assert fields == [
        "entity",
        "project",
        "name",
        "mode",
        "sync_mode",
        "runs_per_page",
        "timeout_seconds",
    ]


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../a", "/a", "a/b", "a\\b", "a\x00", "a\nb", "x" * 201, "é" * 101]
)
def test_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        ExportRequest(**{**GOOD, "name": name})


@pytest.mark.parametrize("name", ["a", ".a", "a b", "ü", "日本", "a..b", "-", "x" * 200])
def test_unusual_folder_name_is_accepted(name: str) -> None:
    assert ExportRequest(**{**GOOD, "name": f" {name} "}).name == name


def test_replacing_a_field_checks_the_request_again() -> None:
    with pytest.raises(InvalidRequestError):
        replace(ExportRequest(**GOOD), name="..")


def test_decoding_a_request_checks_it() -> None:
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.json.decode(b'{"entity":"e","project":"p","name":".."}', type=ExportRequest)


def test_selection_needs_history() -> None:
    with pytest.raises(InvalidRequestError, match="needs mode history"):
        ExportRequest(**GOOD, history_selection=HistorySelection(keys=("loss",)))
    assert ExportRequest(**GOOD, history_selection=HistorySelection()).history_selection is None


def test_texts_and_lists_are_accepted_for_enums_and_tuples() -> None:
    anything: Any = {"mode": "history", "sync_mode": "full_reconcile", "data_root": "/tmp/x"}
    request = ExportRequest(**GOOD, **anything)
    assert request.mode is ExportMode.HISTORY
    assert request.sync_mode is SyncMode.FULL_RECONCILE
    assert request.data_root == Path("/tmp/x")
    one_key: Any = "loss"
    assert HistorySelection(keys=one_key).keys == ("loss",)


WINDOWS = [
    ({"min_step": -1}, 1),
    ({"max_step": -1}, 1),
    ({"max_records": 0}, 1),
    ({"min_step": True}, 1),
    ({"min_step": 1.5}, 1),
    ({"min_step": 5, "max_step": 4}, 1),
    ({"min_step": -1, "max_step": -2, "max_records": 0}, 3),
]


@pytest.mark.parametrize(("bounds", "count"), WINDOWS)
def test_window_reports_all_its_problems(bounds: dict[str, Any], count: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        HistoryWindow(**bounds)
    assert len(caught.value.problems) == count


@pytest.mark.parametrize(
    ("step", "admitted"), [(None, False), (0, False), (1, False), (2, True), (3, True), (4, False)]
)
def test_window_is_closed_below_and_open_above(step: int | None, admitted: bool) -> None:
    assert HistoryWindow(min_step=2, max_step=4).admits_step(step) == admitted
    assert HistoryWindow(min_step=0, max_step=1).admits_step(None)


@pytest.mark.parametrize("keys", [("",), ("a", " "), (3,)])
def test_blank_key_is_refused(keys: Any) -> None:
    with pytest.raises(InvalidRequestError, match="key"):
        HistorySelection(keys=keys)


def test_flags_that_say_nothing_make_no_selection() -> None:
    assert build_selection() is None
    assert build_selection(keys=[]) is None
    assert build_selection(max_records=3) == HistorySelection(window=HistoryWindow(max_records=3))


def test_command_reports_all_problems_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--min-step",
        "-1",
        "--runs-per-page",
        "0",
        "--source",
        "x",
        "--json",
        "--mode",
        "history",
    ]
    assert run([" ", "p", "--name", "..", *flags]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--min-step must be 0 or more, not -1",
        "entity must not be blank",
        "name must be a folder name of its own, not '..'",
        "--runs-per-page must be 1 or more, not 0",
        "source must be api, replay:DIR or offline:DIR, not 'x'",
    ]


@pytest.mark.parametrize(
    "fields",
    [{"data_root": None}, {"include_metadata": "no"}, {"history_selection": {"keys": ["a"]}}],
)
def test_value_of_another_type_is_a_problem(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        ExportRequest(entity="e", project="p", name="n", mode=ExportMode.HISTORY, **fields)
