"""Kinds of failures: each is made somewhere, and an unknown one of a later build reads."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path

import msgspec
import pytest

import dr_wandb
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.unproven_runs import FailedRun, ShortKind, failed_run
from dr_wandb.core.inspect.doubts import AbsenceKind, DoubtKind
from dr_wandb.core.inspect.shortfalls import LagKind
from dr_wandb.core.inspect.verify import NoteKind
from dr_wandb.core.offline.scan_report import NoticeKind
from dr_wandb.core.sync.plan_kinds import FetchKind, ListingKind, PlanKind

SOURCE = Path(dr_wandb.__file__).parent


@cache
def names_looked_up_in_the_code() -> Mapping[str, set[str]]:
    """Return, for each name that any module has, the attributes that it looks up there."""
    found = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found[node.value.id].add(node.attr)
    return found


@pytest.mark.parametrize(
    "enum",
    [
        RunFailureKind,
        ShortKind,
        DoubtKind,
        AbsenceKind,
        FetchKind,
        PlanKind,
        ListingKind,
        NoteKind,
        NoticeKind,
        LagKind,
    ],
    ids=lambda enum: enum.__name__,
)
def test_every_kind_is_made_somewhere(enum: type[StrEnum]) -> None:
    assert names_looked_up_in_the_code()[enum.__name__] == set(enum.__members__)


@pytest.mark.parametrize("kind", RunFailureKind)
def test_failure_reads_back_with_its_kind(kind: RunFailureKind) -> None:
    failure = RunFailure(kind=kind, reason="why")
    encoded = msgspec.json.encode(failure)
    assert encoded == b'{"kind":"%s","reason":"why"}' % kind.value.encode()
    assert msgspec.json.decode(encoded, type=RunFailure) == failure
    assert failure.refused == (kind == "refused")


def test_kind_of_a_later_build_is_unknown() -> None:
    failure = msgspec.json.decode(b'{"kind":"moonquake","reason":"why"}', type=RunFailure)
    assert failure == RunFailure(kind=RunFailureKind.UNKNOWN, reason="why")


def test_failed_run_prints_its_id_its_kind_and_its_reason() -> None:
    failure = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no whole answer in time")
    failed = failed_run("a", failure)
    assert failed.failure == failure
    assert msgspec.to_builtins(failed) == {
        "run_id": "a",
        "kind": "timeout",
        "reason": "no whole answer in time",
    }
    assert isinstance(failed, FailedRun)
