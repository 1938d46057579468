"""What came from what, also if it goes in circles."""

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.project_record import ArtifactUse
from dr_wandb.core.inspect.lineage import (
    RUN,
    VERSION,
    Lineage,
    Node,
    describe_versions,
    name_of,
)


def version(name: str, number: int | None = 0, **fields: object) -> WandbArtifact:
    known = {"artifact_id": f"{name}-{number}", **fields}
    return WandbArtifact(collection=name, version=number, **known)  # type: ignore[arg-type]


def uses(*run_ids: str) -> tuple[ArtifactUse, ...]:
    return tuple(ArtifactUse(run_id=run_id) for run_id in run_ids)


def test_circle_is_followed_once() -> None:
    graph = Lineage([version("state", created_by=("r",), used_by=uses("r"))])
    node = graph.find("r")
    assert node == Node(RUN, "r")
    assert list(graph.describe(node)) == [
        "run r",
        "came from:",
        "  state:v0",
        "    run r (see above)",
        "and from it came:",
        "  state:v0",
        "    run r (see above)",
    ]


def test_long_chain_needs_no_recursion() -> None:
    count = 3000
    records = [
        version("d", number, created_by=(f"r{number}",), used_by=uses(f"r{number + 1}"))
        for number in range(count)
    ]
    graph = Lineage(records)
    node = graph.find("d:v0")
    assert node is not None
    assert len(list(graph.describe(node))) == 2 * count + 3


def test_link_names_the_version_that_it_is_one_of() -> None:
    source = version("data", 2, aliases=("best",), missing_since="2026-01-01T00:00:00Z")
    link = version("a-shelf", 0, artifact_id="data-2", source_collection="data", aliases=("gold",))
    for records in ([source, link], [link, source]):
        graph = Lineage(records)
        assert graph.find("a-shelf:gold") == graph.find("data:best") == Node(VERSION, "data-2")
        first, *_ = graph.describe(Node(VERSION, "data-2"))
        assert first == "data:v2, linked as a-shelf:v0, gone upstream"


def test_names_of_versions_without_a_number_or_in_other_projects() -> None:
    assert name_of(version("data", None)) == "data:?"
    assert name_of(version("data", 1, project="e/p")) == "e/p/data:v1"
    assert Lineage([]).find("data:v0") is None


def test_table_names_a_few_runs_and_counts_the_others() -> None:
    many = uses(*(f"r{number}" for number in range(5)))
    lines = describe_versions([version("d", used_by=many), version("gone", missing_since="x")])
    assert lines[1].endswith("r0, r1, r2, 2 more")
    assert lines[2].startswith("gone:v0 (gone)")
