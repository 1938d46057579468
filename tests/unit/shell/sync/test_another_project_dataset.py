"""A linked dataset of the project goes through all that artifacts go through.

It is made up: labels that runs print and stick on things. To have it took one value, one kind of
record and one method of a source. Nothing in shell/sync knows its name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.dataset import PROJECT_DATASETS, Counts, ProjectDataset
from dr_wandb.core.contract.listing import ListingQuery
from dr_wandb.core.contract.project_record import NO_HASHES, Hashes, LinkedRecord, required_text
from dr_wandb.core.contract.project_records import KINDS, NORMALIZERS
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources import RunPage
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource

LABELS = "labels"


class Label(LinkedRecord, frozen=True, kw_only=True):
    """A label in a drawer; its ink never changes."""

    known_by = ("drawer", "label_id")

    drawer: str
    label_id: str
    ink: str | None = None

    @property
    def source_id(self) -> str:
        return self.label_id

    @property
    def group(self) -> str:
        return self.drawer

    @property
    def has_content(self) -> bool:
        return self.ink is not None

    def lasts(self, content: Iterable[Sequence[Any]], hashes: Hashes = NO_HASHES) -> bool:
        return self.has_content

    def with_content_of(self, held: LinkedRecord) -> "Label":
        assert isinstance(held, Label)
        return Label(drawer=self.drawer, label_id=self.label_id, ink=held.ink)


def normalize_label(node: Mapping[str, Any]) -> Label:
    return Label(
        drawer=required_text(node, "drawer"),
        label_id=required_text(node, "id"),
        ink=node.get("ink"),
    )


def count_labels(raw_run: Mapping[str, Any]) -> Counts:
    made, used = raw_run["labels"]
    return Counts(line_count=made + used, mark=f"{made} {used}")


@pytest.fixture(autouse=True)
def labels(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = ProjectDataset(
        name=LABELS,
        file="labels.jsonl",
        linked=True,
        grouped=True,
        lasting=True,
        counts=count_labels,
    )
    monkeypatch.setitem(PROJECT_DATASETS, LABELS, dataset)
    monkeypatch.setitem(KINDS, LABELS, Label)
    monkeypatch.setitem(NORMALIZERS, LABELS, normalize_label)


class LabelledSource(MemorySource):
    """A project with drawers of labels, by drawer; each run made and used some."""

    def __init__(self) -> None:
        super().__init__()
        self.drawers: dict[str, list[str]] = {}
        self.made: dict[str, list[str]] = {}
        self.used: dict[str, list[str]] = {}
        self.read_inks: list[str] = []
        self.asked_runs: list[tuple[str, ...]] = []

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        for page in super().list_runs(query):
            for run in page.runs:
                assert isinstance(run, dict)
                name = str(run["name"])
                run["labels"] = len(self.made.get(name, ())), len(self.used.get(name, ()))
            yield page

    def list_labels(self, known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        self.asked_runs.append(tuple(known.runs))
        marks = {drawer: str(ids) for drawer, ids in self.drawers.items()}
        same = [drawer for drawer, mark in marks.items() if known.marks.get(drawer) == mark]
        nodes = [
            {"drawer": drawer, "id": label_id}
            for drawer, ids in self.drawers.items()
            if drawer not in same
            for label_id in ids
        ]
        for node in nodes:
            if node["id"] not in known.contents and not known.listing_only:
                self.read_inks.append(node["id"])
                node["ink"] = f"ink of {node['id']}"
        links = {
            run_id: {
                "outputs": self.made.get(run_id, []),
                "inputs": [{"id": one, "usedAs": None} for one in self.used.get(run_id, [])],
            }
            for run_id in known.runs
        }
        yield RecordPage(nodes=nodes, total=len(nodes), marks=marks, same=same, links=links)


def project() -> LabelledSource:
    source = LabelledSource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        source.finish(run_id)
    source.drawers = {"blue": ["one", "two"], "red": ["three"]}
    source.made = {"a": ["one"]}
    source.used = {"b": ["one", "three"]}
    return source


def sync(source: MemorySource, data_root: Path, **fields: Any) -> Any:
    return syncing.sync(source, data_root, **{"extra_datasets": (LABELS,)} | fields)


def held(data_root: Path) -> dict[str, dict[str, Any]]:
    lines = syncing.json_lines(data_root / syncing.NAME / "labels.jsonl")
    return {one["label_id"]: one for one in lines}


def test_records_have_their_links_and_content(tmp_path: Path) -> None:
    assert sync(project(), tmp_path).complete
    found = held(tmp_path)
    assert [*found] == ["one", "two", "three"]
    assert found["one"]["created_by"] == ["a"]
    assert [use["run_id"] for use in found["one"]["used_by"]] == ["b"]
    assert found["two"]["ink"] == "ink of two"
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound


def test_sync_that_finds_nothing_new_reads_no_content_and_asks_no_run(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    assert source.asked_runs == [("a", "b")]
    source.read_inks.clear()
    before = (tmp_path / syncing.NAME / "labels.jsonl").read_bytes()
    assert sync(source, tmp_path).complete
    assert sync(source, tmp_path, sync_mode="detect_changes").complete
    assert source.asked_runs == [("a", "b"), (), ()]
    assert source.read_inks == []
    assert (tmp_path / syncing.NAME / "labels.jsonl").read_bytes() == before


def test_run_whose_numbers_moved_is_asked_again(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.drawers["red"].append("four")
    source.used["b"].append("four")
    source.update("b", tags=["moved"])
    assert sync(source, tmp_path, sync_mode="detect_changes").complete
    assert source.asked_runs[-1] == ("b",)
    assert [use["run_id"] for use in held(tmp_path)["four"]["used_by"]] == ["b"]
    assert held(tmp_path)["four"]["ink"] == "ink of four"


def test_run_that_was_never_asked_is_listed_for_its_links(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path, extra_datasets=())
    assert sync(source, tmp_path).complete
    assert source.asked_runs == [("a", "b")]
