"""What the API source does during a listing for the rows that a first export reads after it."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dr_wandb import ExportMode, ExportRequest
from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.shell.sources import EarlyRows
from dr_wandb.shell.sources.api import source as api
from dr_wandb.shell.sources.api.source import ApiSource

if TYPE_CHECKING:
    from dr_wandb.shell.sources.api.session import ApiSession

REQUEST = ExportRequest(entity="e", project="p", name="n", mode=ExportMode.HISTORY)


def run_node(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "state": "finished", "historyLineCount": 5, **fields}


class Prepared:
    """A source on a listing of one page; remembers what it gets ready."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: Any, matching: Any = 40) -> None:
        self.imported = False
        self.expected: list[int] = []
        edges = [{"cursor": node["name"], "node": node} for node in nodes]
        runs = {"edges": edges, "pageInfo": {"hasNextPage": False}}
        answer = {"project": {"total": matching, "matching": matching, "runs": runs}}
        session = SimpleNamespace(
            host="h",
            app_url="https://h/",
            proxies={},
            private=Path("private"),
            measured=lambda *_: (answer, 1000),
            expect_requests=self.expected.append,
        )
        monkeypatch.setattr(api, "_import_arrow_early", self._note_import)
        self.source = ApiSource(cast("ApiSession", session), REQUEST)

    def _note_import(self) -> None:
        self.imported = True

    def list(self, early: EarlyRows | None) -> "Prepared":
        self.source.early = early
        assert list(self.source.list_runs(EveryRun()))
        return self


def early(*held: str) -> EarlyRows:
    return EarlyRows(Path("early"), frozenset(held))


def test_first_export_gets_ready_for_the_rows_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(monkeypatch, run_node("a")).list(early())
    assert (prepared.imported, prepared.expected) == (True, [40])


def test_plan_and_recording_get_ready_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run would open a second session for rows that it does not read."""
    prepared = Prepared(monkeypatch, run_node("a")).list(None)
    assert (prepared.imported, prepared.expected) == (False, [])


@pytest.mark.parametrize("node", [run_node("held"), run_node("a", historyLineCount=0)])
def test_runs_that_are_held_or_have_no_rows_are_not_prepared_for(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = Prepared(monkeypatch, node).list(early("held"))
    assert (prepared.imported, prepared.expected) == (False, [])


def test_held_runs_are_not_expected_among_the_new(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(monkeypatch, run_node("a")).list(early("b", "c"))
    assert prepared.expected == [38]


def test_live_runs_do_not_need_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(monkeypatch, run_node("a", state="running")).list(early())
    assert (prepared.imported, prepared.expected) == (False, [40])


def test_server_that_does_not_count_is_expected_to_answer_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = Prepared(monkeypatch, run_node("a"), matching=None).list(early())
    assert (prepared.imported, prepared.expected) == (True, [])
