"""In which formats the rows are held: as lines, as Parquet, as both, and from each to the other."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from msgspec.structs import replace

from dr_wandb import ExportRequest
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.store.converting import write_history_lines
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.runs_parquet import write_runs
from tests.property.machine.project import ProjectRules
from tests.property.machine.view import View, view_at_start
from tests.support import syncing
from tests.support.parquet_exports import lines_in, small_files
from tests.support.written_parquet import write_history

FORMATS: tuple[tuple[str, ...], ...] = ((), ("jsonl",), ("parquet",), ("jsonl", "parquet"))
EXACT = ("contents", "sha256", "bytes", "lines")


class FormatRules(ProjectRules):
    """Changes of the formats. Those of a request hold for one sync, and stay in the export."""

    request: ExportRequest

    @initialize(formats=st.sampled_from(FORMATS), most_cells=st.sampled_from([None, 8]))
    def begin_in_formats(self, formats: tuple[str, ...], most_cells: int | None) -> None:
        """most_cells: how many cells a run has that is given files of its own."""
        self.around.enter_context(small_files(most_cells))
        self.first_formats = formats

    def request_now(self) -> ExportRequest:
        """Return the request in force. The first history is in the formats of the beginning."""
        manifest = view_at_start(self.export_dir).manifest
        history = self.request.mode == ExportMode.HISTORY
        if not history or held_formats(manifest) or self.request.drop_formats:
            return self.request
        return replace(self.request, formats=self.request.formats or self.first_formats)

    def ask_in_formats(self, formats: tuple[str, ...], dropped: str) -> None:
        """Ask for formats, and to drop one of the others."""
        drop = (dropped,) if dropped and dropped not in formats else ()
        self.request = replace(self.request, formats=formats, drop_formats=drop)


def held_formats(manifest: ExportManifest | None) -> set[str]:
    """Return the formats that the manifest of an export names."""
    requested = None if manifest is None else manifest.requested
    held = None if requested is None else requested.datasets.get("history")
    return set() if held is None else {*held.formats}


def wanted_formats(request: ExportRequest, manifest: ExportManifest | None) -> set[str] | None:
    """Return the formats after a sync, None if its request does not fit the export."""
    before = held_formats(manifest)
    if not before and request.mode == ExportMode.METADATA:
        return None if request.formats or request.drop_formats else set()
    after = (before | {*request.formats} or {"jsonl"}) - {*request.drop_formats}
    return after or None


def check_formats(folder: Path, before: View, request: ExportRequest) -> None:
    """The files are in the wanted formats, and are those that the lines give at once."""
    after = View(folder)
    assert after.manifest is not None
    wanted = wanted_formats(request, before.manifest)
    assert held_formats(after.manifest) == wanted
    assert wanted is not None
    event(f"formats: {' and '.join(sorted(wanted)) or 'none'}")
    assert ("history.jsonl" in after.files) == ("jsonl" in wanted)
    assert ("parquet/runs.parquet" in after.files) == ("parquet" in wanted)
    assert after.manifest.schema_version == (8 if "parquet" in wanted else 6)
    if "history.jsonl" in after.files:
        assert "parquet" not in wanted or lines_in(folder) == after.files["history.jsonl"]
    there = {name: one for name, one in after.files.items() if name.startswith("parquet/")}
    event(f"own files of runs: {any('-run-' in name for name in there)}")
    with TemporaryDirectory() as other:
        made = made_at_once(after, Path(other)) if "parquet" in wanted else {}
        assert there == {name: Path(other, name).read_bytes() for name in made}
    for name, said in made.items():
        described = after.manifest.files[name]
        for member in EXACT:
            assert getattr(described, member) == said[member], (name, member)
    if wanted:
        check_conversion(folder, after)


def made_at_once(after: View, other: Path) -> dict[str, dict[str, Any]]:
    """Write the Parquet files of what is held; return what the manifest has to say of them."""
    created = {run_id: run["created_at"] for run_id, run in after.runs.items()}
    made = {
        name: {member: getattr(file, member) for member in EXACT}
        for name, file in write_history(other, after.history, created).items()
    }
    (other / "runs.jsonl").write_bytes(after.files["runs.jsonl"])
    runs = write_runs(other / "runs.jsonl", other / "parquet" / "runs.parquet")
    return made | {"parquet/runs.parquet": {**runs._asdict(), "lines": runs.runs}}


def check_conversion(folder: Path, after: View) -> None:
    """The lines are had from whatever is held, byte for byte."""
    store = ExportStore(name=syncing.NAME, data_root=folder.parent)
    with TemporaryDirectory() as other:
        done = write_history_lines(store, Path(other, "lines"))
        assert Path(other, "lines").read_bytes() == after.history
    assert done.rows == sum(map(len, after.rows.values()))


some_formats = st.sampled_from(FORMATS)
some_format = st.sampled_from(["", "jsonl", "parquet"])
"""What is dropped, if anything."""
