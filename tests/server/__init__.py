"""A stand-in W&B server on loopback, for tests that drive the real SDK."""

from tests.server.faults import (
    Drop,
    EmptyRows,
    GraphQLErrors,
    Hang,
    NullField,
    Request,
    Status,
    Trickle,
    Truncate,
)
from tests.server.model import Project
from tests.server.run import Run
from tests.server.stand_in import StandInServer
from tests.server.world import AUTO

__all__ = (
    "AUTO",
    "Drop",
    "EmptyRows",
    "GraphQLErrors",
    "Hang",
    "NullField",
    "Project",
    "Request",
    "Run",
    "StandInServer",
    "Status",
    "Trickle",
    "Truncate",
)
