"""A folder of `.wandb` files passes the contract of sources."""

import itertools
import json
from pathlib import Path

import pytest

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.shell.sources import Source
from dr_wandb.shell.sources.offline.source import OfflineSource
from tests.contract.source_contract import SourceContract, SourceFactory
from tests.support.asking import WINDOWS, list_all
from tests.support.described_project import PROJECT, ProjectDescription, RunDescription
from tests.support.wandb_file import (
    console_record,
    exit_record,
    header_record,
    row_record,
    run_record,
    stats_record,
    summary_record,
    write_metadata,
    write_run,
)

NOW_NS = 1_767_445_200 * 10**9
"""Half an hour after the run was started that is running."""

HOUR_NS = 3600 * 10**9

EXIT_CODES = {"finished": 0, "failed": 1}
"""States that an exit record tells. The others are told by the time of the file."""


def records_of(described: RunDescription, project: ProjectDescription) -> list[bytes]:
    """Return the records of a run, as those of the SDK: a blank entity, items in any order."""
    records = [
        header_record(""),  # of an SDK that keeps nulls in a summary, as a server does
        run_record(
            described.run_id,
            project=project.project,
            started=f"{described.created_at}Z",
            config=described.config,
            display_name=described.display_name,
            tags=described.tags,
        ),
        *(row_record(row, seed=number) for number, row in enumerate(described.rows)),
        *(console_record(f"{text}\n", error=error) for text, error in described.console),
        *(
            stats_record(int(raw["_timestamp"]), **sample)
            for raw, sample in zip(described.raw_samples, described.samples, strict=True)
        ),
        summary_record(described.summary),
    ]
    code = EXIT_CODES.get(described.state)
    return records if code is None else [*records, exit_record(code)]


def write_project(described: ProjectDescription, folder: Path) -> Path:
    """Write a project as a `wandb` folder. The ids may be such as no file can be named by."""
    folder.mkdir()
    for number, run in enumerate(described.runs):
        path = write_run(
            folder,
            f"r{number}",
            records_of(run, described),
            modified_ns=NOW_NS - (0 if run.state == "running" else HOUR_NS),
        )
        for name, content in run.files.items():
            beside = path.parent / "files" / name
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        if run.broken_metadata:
            write_metadata(path, b'{"half')
        elif run.metadata is not None:
            write_metadata(path, json.dumps(run.metadata).encode())
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the project that most tests have; reading it changes nothing."""
    return write_project(PROJECT, tmp_path_factory.mktemp("written") / "wandb")


class TestOfflineSource(SourceContract):
    has_server = False
    has_exports = False
    has_stepless = False

    @pytest.fixture
    def make_source(self, written: Path, tmp_path: Path) -> SourceFactory:
        numbers = itertools.count()

        def find(described: ProjectDescription) -> Source:
            if described is PROJECT:
                folder = written
            else:
                folder = write_project(described, tmp_path / f"wandb-{next(numbers)}")
            request = ExportRequest(
                entity=described.entity,
                project=described.project,
                name="export",
                mode=ExportMode.HISTORY,
                extra_datasets=("console", "system", "files"),
            )
            return OfflineSource(folder, request, now_ns=NOW_NS)

        return find

    @pytest.mark.parametrize("described", PROJECT.runs, ids=lambda run: run.run_id)
    def test_lines_of_a_batch_are_those_of_its_rows(
        self, source: Source, described: RunDescription
    ) -> None:
        """What is read back row by row must be what the export holds."""
        run = list_all(source)[described.run_id]
        for window in (FetchWindow(), *WINDOWS):
            for batch in source.read_history(run, window, 0):
                rows = [normalize_row(row, run.run_id) for row in batch.rows]
                encoded = batch.encode(run.run_id)
                assert encoded.lines == b"".join(map(encode_line, rows))
                assert list(encoded.steps) == [row.step for row in rows]
                assert list(encoded.timestamps) == [row.timestamp for row in rows]
