"""The links of a run are believed if as many came as W&B counts, and kept in any case."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.run_links import LinksOfRuns, read_links

NONE = {"totalCount": 0, "edges": [], "pageInfo": {"hasNextPage": False}}

Page = Mapping[str, Any] | None


def connection(ids: Sequence[Any], total: int | None, cursor: str | None = None) -> dict[str, Any]:
    edges = [{"node": {"id": one}} if isinstance(one, str) else one for one in ids]
    info = {"endCursor": cursor, "hasNextPage": cursor is not None}
    return {"totalCount": total, "edges": edges, "pageInfo": info}


def outputs(ids: Sequence[Any], total: int | None, cursor: str | None = None) -> dict[str, Any]:
    return {"outputArtifacts": connection(ids, total, cursor), "inputArtifacts": NONE}


class Answers:
    """Gives one answer after the other, whatever is asked; asked: the variables."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[list[Mapping[str, Any]]] = []

    def ask(self, alias: str, document: Any, asked: Any, optional: Any, per_page: int) -> list[Any]:
        self.asked.append(list(asked))
        answer = next(self._answers)
        if isinstance(answer, SourceError):
            raise answer
        return answer if isinstance(answer, list) else [answer]


def read(*answers: Any, run_ids: Sequence[str] = ("r",)) -> tuple[LinksOfRuns, Answers]:
    queries: Any = Answers(answers)
    return read_links(queries, run_ids, ("e", "p"), 4), queries


def made(found: LinksOfRuns, run_id: str = "r") -> list[str]:
    return list(found.links[run_id]["outputs"])


def reason(found: LinksOfRuns, run_id: str = "r") -> str:
    failure = found.unread[run_id]
    assert failure.kind == RunFailureKind.UNUSABLE_ANSWER
    return failure.reason


def test_links_of_all_pages_are_whole() -> None:
    found, queries = read(outputs(["a", "b"], 3, "c"), outputs(["c"], 3))
    assert (made(found), found.unread) == (["a", "b", "c"], {})
    assert [one["outputs"] for (one,) in queries.asked] == [None, "c"]


def test_page_that_came_twice_counts_once() -> None:
    """The artifacts of a page that did not come were lost, and their runs were never asked again.

    The same page came in its place, so the number was right.
    """
    found, _ = read(outputs(["a", "b"], 4, "c"), outputs(["a", "b"], 4))
    assert made(found) == ["a", "b"]
    assert reason(found) == "W&B counts 4 outputs of the run, and gave 2"


def test_every_page_has_to_count_what_came() -> None:
    """The count of the last page took the place of a higher one."""
    for first, second in ((3, 2), (2, 3)):
        found, _ = read(outputs(["a"], first, "c"), outputs(["b"], second))
        assert reason(found) == "W&B counts 3 outputs of the run, and gave 2"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"outputArtifacts": None, "inputArtifacts": None},
        {"outputArtifacts": None, "inputArtifacts": NONE},
        {"outputArtifacts": NONE, "inputArtifacts": {**NONE, "totalCount": None}},
        {"outputArtifacts": NONE, "inputArtifacts": {**NONE, "edges": None}},
    ],
)
def test_run_without_an_answer_is_no_run_without_links(answer: Any) -> None:
    """A null answer erased the links of a run for ever."""
    found, _ = read(answer)
    assert found.links == {}
    assert "gives no count of the " in reason(found)


def test_links_without_a_count_are_kept_as_some() -> None:
    found, _ = read(outputs(["a"], None))
    assert made(found) == ["a"]
    assert reason(found) == "W&B gives no count of the outputs of the run"


def test_one_use_that_is_listed_twice_on_a_page_counts_twice() -> None:
    use = {"node": {"id": "a"}, "usedAs": "eval"}
    other = {**use, "usedAs": "base"}
    found, _ = read({"outputArtifacts": NONE, "inputArtifacts": connection([use, other, use], 3)})
    assert found.unread == {}
    uses = [{"id": "a", "usedAs": "eval"}, {"id": "a", "usedAs": "base"}]
    assert found.links["r"]["inputs"] == uses


@pytest.mark.parametrize("cursors", ["ccc", "cdcdcd"])
def test_cursors_that_lead_nowhere_end(cursors: str) -> None:
    pages = [outputs([f"a{number}"], 9, cursor) for number, cursor in enumerate(cursors)]
    found, queries = read(*pages)
    assert len(queries.asked) == len({*cursors}) + 1
    assert "r" in found.unread


def test_connection_at_its_end_is_not_read_again() -> None:
    use = {"node": {"id": "x"}}
    first = {"outputArtifacts": connection(["a"], 1), "inputArtifacts": connection([use], 2, "c")}
    second = {"outputArtifacts": None, "inputArtifacts": connection(["y"], 2)}
    found, _ = read(first, second)
    assert (made(found), found.unread) == (["a"], {})
    assert [one["id"] for one in found.links["r"]["inputs"]] == ["x", "y"]


def test_failure_on_a_later_page_leaves_what_came() -> None:
    """All runs of the request lost what had come of their links."""
    error = SourceError("no answer", RunFailureKind.TIMEOUT)
    found, _ = read([outputs(["a"], 1), outputs(["b"], 2, "c")], error, run_ids=("r", "s"))
    assert (made(found), made(found, "s")) == (["a"], ["b"])
    assert {one: why.kind for one, why in found.unread.items()} == {"s": RunFailureKind.TIMEOUT}


def test_failure_without_any_answer_fails_the_listing_of_several_runs() -> None:
    error = SourceError("no answer", RunFailureKind.TIMEOUT)
    with pytest.raises(SourceError):
        read(error, run_ids=("r", "s"))
    assert read(error)[0].unread == {"r": error.failure}


def test_run_that_is_not_there_is_named() -> None:
    found, _ = read(None)
    assert found.unread["r"].kind == RunFailureKind.NOT_FOUND
    assert found.links == {}
