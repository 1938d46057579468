"""What a project with artifacts holds on the stand-in server; fits on a command line."""

import msgspec

ENTITY, PROJECT = "entity", "project"


class ArtifactsProject(msgspec.Struct, frozen=True, kw_only=True):
    """A project of finished runs, each of which logged a version and used another one.

    versions: in each collection. entries: in each manifest.
    """

    runs: int = 500
    collections: int = 200
    versions: int = 10
    entries: int = 5
    latency_seconds: float = 0.0
