"""A stand-in W&B server on loopback, for tests that drive the real SDK."""

from tests.support.server.faults import (
    Drop,
    EmptyRows,
    GraphQLErrors,
    Hang,
    NullField,
    Redirect,
    Replace,
    Request,
    Status,
    Trickle,
    Truncate,
)
from tests.support.server.model import Project
from tests.support.server.run import Run
from tests.support.server.stand_in import StandInServer
from tests.support.server.world import AUTO

__all__ = (
    "AUTO",
    "Drop",
    "EmptyRows",
    "GraphQLErrors",
    "Hang",
    "NullField",
    "Project",
    "Redirect",
    "Replace",
    "Request",
    "Run",
    "StandInServer",
    "Status",
    "Trickle",
    "Truncate",
)
