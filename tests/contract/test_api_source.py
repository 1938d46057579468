"""The W&B API, through the real SDK, passes the contract of sources against the stand-in server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.source import ApiSource
from tests.contract.source_contract import SourceContract
from tests.support.server import StandInServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dr_wandb.shell.sources import Source
    from tests.contract.source_contract import SourceFactory
    from tests.support.described_project import ProjectDescription, RunDescription
    from tests.support.server import Project

OWN_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StandInServer, ApiSession]]:
    """Yield one server and one SDK session: wandb-core is one process and slow to start."""
    place = tmp_path_factory.mktemp("session")
    with StandInServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        for name, text in server.environment(place / "home").items():
            if name not in OWN_FOLDERS:
                patch.setenv(name, text)
        session = ApiSession(place, timeout_seconds=20)
        try:
            yield server, session
        finally:
            session.close()
    assert server.unknown_operations == []
    assert server.errors == []


def build_run(project: Project, described: RunDescription) -> None:
    run = project.add_run(
        described.run_id,
        created_at=described.created_at,
        state=described.state,
        display_name=described.display_name,
        config=described.config,
        summary=described.summary,
        tags=described.tags,
        user=described.user,
    )
    for row in described.rows:
        run.log(row, step=run.NO_STEP, timestamp=run.NO_TIMESTAMP)
    if described.exported:
        run.export_parquet(files=2, upto=described.exported, overlap=described.overlap)
    for text, error in described.console:
        run.write_line(text, error=error)
    for sample in described.raw_samples:
        run.log_system(sample)
    for name, content in described.files.items():
        run.put_file(name, content)
    run.metadata = described.metadata
    run.metadata_status = 404 if described.broken_metadata else 200


class TestApiSource(SourceContract):
    @pytest.fixture
    def make_source(self, served: tuple[StandInServer, ApiSession]) -> Iterator[SourceFactory]:
        server, session = served
        built: list[Project] = []

        def build(described: ProjectDescription) -> Source:
            project = server.add_project(described.entity, described.project)
            built.append(project)
            for run in described.runs:
                build_run(project, run)
            project.sweeps, project.reports["runs"] = [*described.sweeps], [*described.reports]
            for name, versions in described.artifacts.items():
                collection = project.add_collection(name)
                made = [collection.add(contents) for contents in versions]
                project.runs[-1].inputs.append((made[0], name))
                project.runs[-1].outputs.append(made[-1])
            request = ExportRequest(
                entity=described.entity,
                project=described.project,
                name="n",
                runs_per_page=3,
                timeout_seconds=20,
                extra_datasets=("console", "system", "files", "artifacts"),
            )
            return ApiSource(session, request)

        yield build
        for project in built:
            server.delete_project(project)
