"""List the artifacts in the files of runs.

Rules
- All collections have one mark, the content of all runs: if it did not change, no file is read.
- A version that a run used is not counted: its line comes from the record of the use alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dr_wandb.core.contract.codec import digest
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.datasets import Known, RecordPage
from dr_wandb.shell.sources.offline.other_rows import WandbPart, readable

if TYPE_CHECKING:
    from dr_wandb.core.contract.run_failure import RunFailure


class RunParts(NamedTuple):
    """The files of a run that may have artifacts, and a text that changes with their content."""

    run_id: str
    parts: Sequence[WandbPart]
    mark: str


def list_artifacts(runs: Iterable[RunParts], known: Known, project: str) -> Iterator[RecordPage]:
    """List the artifacts of runs. project: ENTITY/PROJECT."""
    runs = list(runs)
    mark = digest(repr([(run.run_id, run.mark) for run in runs]).encode())
    if known.marks and set(known.marks.values()) == {mark} and not known.runs:
        yield RecordPage(nodes=(), total=0, marks=known.marks, same=list(known.marks))
        return
    nodes: dict[tuple[str, str], Any] = {}
    used: list[Any] = []
    links: dict[str, Any] = {}
    unread: dict[str, RunFailure] = {}
    for run in runs:
        outputs: list[str] = []
        inputs: list[str] = []
        try:
            for part in run.parts:
                with readable(part.file) as (data, _):
                    found = part.file.decoder.artifacts(data, part.reading, project)
                for node in found.logged:
                    key = node["collection"]["name"], node["artifact"]["id"]
                    nodes[key] = node
                    outputs.append(node["artifact"]["id"])
                used += found.used
                inputs += [node["artifact"]["id"] for node in found.used]
        except SourceError as error:
            unread[run.run_id] = error.failure
            continue
        links[run.run_id] = {
            "outputs": outputs,
            "inputs": [{"id": one, "usedAs": None} for one in dict.fromkeys(inputs)],
        }
    groups = {node["collection"]["name"] for node in (*nodes.values(), *used)}
    asked = {run_id: links[run_id] for run_id in known.runs if run_id in links}
    yield RecordPage(
        nodes=list(nodes.values()),
        total=len(nodes) + len(unread),
        marks={} if unread else dict.fromkeys(sorted(groups), mark),
        beside=used,
        links=asked,
        unread=unread,
    )
