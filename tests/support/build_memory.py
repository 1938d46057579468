"""Build a described project in memory."""

from tests.support.described_project import ProjectDescription
from tests.support.memory_source import MemorySource

OFTEN = 1_000_000


def build_memory(described: ProjectDescription) -> MemorySource:
    """Return a source of the project."""
    source = MemorySource(entity=described.entity, project=described.project)
    for run in described.runs:
        source.add_run(
            run.run_id,
            created_at=run.created_at,
            state=run.state,
            display_name=run.display_name,
            config=run.config,
            summary=run.summary,
            tags=list(run.tags),
            user=run.user,
            rows=list(run.rows),
            metadata=run.metadata,
        )
        for text, error in run.console:
            source.write_line(run.run_id, text, error=error)
        source.update(run.run_id, samples=run.raw_samples)
        for name, content in run.files.items():
            source.put_file(run.run_id, name, content)
        if run.exported:
            source.export(run.run_id, upto=run.exported, overlap=run.overlap)
        if run.broken_metadata:
            source.fail_metadata(run.run_id, times=OFTEN)
    source.records = {"sweeps": list(described.sweeps), "reports": list(described.reports)}
    for collection, versions in described.artifacts.items():
        ids = [source.add_version(collection, contents=contents) for contents in versions]
        source.use(described.runs[-1].run_id, ids[0], collection)
        source.make(described.runs[-1].run_id, ids[-1])
    return source
