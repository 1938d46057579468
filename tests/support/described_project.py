"""The project that every source is asked about, as plain values.

A contract test describes a project; a factory builds it wherever its source reads from. Rows have
all their columns (`_step`, `_timestamp`, ...), in the order in which they were logged.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class RunDescription:
    """One run. The first `exported` rows are in Parquet, the last `overlap` of them live as well.

    Exported rows have one type a column. metadata: the content of `wandb-metadata.json`, None where
    there is no such file; broken_metadata: the file is there and does not download. console: what
    its program printed, each line with whether it is of standard error. samples: of its machine,
    values by name, one a second from the start on. files: their bytes by name.
    """

    run_id: str
    created_at: str
    state: str = "finished"
    display_name: str = "a run"
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    user: dict[str, str] | None = field(default_factory=lambda: {"name": "Ada", "username": "ada"})
    rows: tuple[dict[str, Any], ...] = ()
    exported: int = 0
    overlap: int = 0
    metadata: dict[str, Any] | None = None
    broken_metadata: bool = False
    console: tuple[tuple[str, bool], ...] = ()
    samples: tuple[dict[str, Any], ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def raw_samples(self) -> list[dict[str, Any]]:
        """Return the samples as W&B has them."""
        start = datetime.fromisoformat(self.created_at).replace(tzinfo=UTC).timestamp()
        return [
            {f"system.{name}": value for name, value in sample.items()}
            | {"_timestamp": start + second, "_runtime": float(second), "_wandb": True}
            for second, sample in enumerate(self.samples)
        ]


@dataclass(frozen=True)
class ProjectDescription:
    """A project: its runs in any order, and its sweeps and reports as nodes, for sources of them.

    artifacts: for each collection the contents of its versions. The last run made the last one of
    each, and used the first one as what the collection is called.
    """

    runs: tuple[RunDescription, ...] = ()
    sweeps: tuple[dict[str, Any], ...] = ()
    reports: tuple[dict[str, Any], ...] = ()
    artifacts: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    entity: str = "entity"
    project: str = "project"

    def run(self, run_id: str) -> RunDescription:
        """Return the run with this id."""
        return next(run for run in self.runs if run.run_id == run_id)


def row(step: int | None, **metrics: Any) -> dict[str, Any]:
    """Make a row with a timestamp of its own; None is a row without a step."""
    place = {} if step is None else {"_step": step}
    moment = 1_767_225_600.25 + (step or 0)
    return {**place, "_timestamp": moment, "_runtime": 0.25 + (step or 0), **metrics}


PLAIN = RunDescription(
    run_id="plain",
    created_at="2026-01-01T00:00:00",
    display_name="Plain – naïve 😀",
    files={
        "config.yaml": b"lr: 1\n",
        "media/images/\u00fc b.png": b"\x89PNG",
        "empty": b"",
        "x\\udcff": b"another file",
    },
    console=(("hello", False), ("oh no", True), ("", False), ("2026-01-01T00:00:00 ü", False)),
    config={"lr": 0.001, "nested": {"a": [1, None, "x"]}},
    summary={"loss": 0.5, "text": "ü", "unset": None},
    tags=("b", "a"),
    rows=tuple(row(step, loss=1 / (step + 1), epoch=step // 2) for step in range(7)),
    metadata={"host": "node-1", "args": ["--lr", "1e-3"], "email": None},
)

EXPORTED = RunDescription(
    run_id="exported",
    created_at="2026-01-02T00:00:00",
    rows=(
        row(0, loss=1.5),
        row(1, loss=math.nan, note="first"),
        row(2, box={"top": 1.5}),
        row(3, loss=math.inf, box={"left": 2.5}),
        row(4, loss=-math.inf),
        row(5, loss=0.1, note="nul"),
        row(6, loss=0.5, late=1.5),
        row(7, late=2.5),
    ),
    exported=6,
    overlap=2,
)

WHOLLY_EXPORTED = RunDescription(
    run_id="wholly-exported",
    created_at="2026-01-02T00:00:00",
    state="crashed",
    rows=tuple(row(step * 10, loss=step + 0.5) for step in range(5)),
    exported=5,
)

ODD = RunDescription(
    run_id="odd",
    created_at="2026-01-03T12:30:00",
    state="running",
    rows=(
        row(None, early=True),
        row(0, loss=1.5),
        row(3, loss=2.5, words=["a", "b"], unset=None),
        row(3, loss=3.5) | {"_timestamp": 1_767_225_700.5},
        row(2, late=True),
        row(None, late=2.5) | {"_timestamp": 1_767_225_701.5},
        row(40_000, loss=4.5, mixed="text"),
        row(40_001, mixed={"a": {"b": None, "c": 1.5}}, _wandb={"x": 1}),
    ),
)

EMPTY = RunDescription(run_id="empty", created_at="2026-01-04T00:00:00", state="crashed")

ANONYMOUS = RunDescription(
    run_id="anonymous",
    created_at="2026-01-05T00:00:00",
    user=None,
    samples=({"cpu": 12.5}, {"disk.\\.usage/l:a b": 0.0, "cpu": 3}, {}, {'q"ü': 1.5}),
    console=tuple((f"line {number}", False) for number in range(600)),
    rows=(row(0, loss=0.5),),
    metadata={},
)

BROKEN = RunDescription(
    run_id="broken", created_at="2026-01-06T00:00:00", metadata={"a": 1}, broken_metadata=True
)

PROJECT = ProjectDescription(runs=(ODD, PLAIN, EXPORTED, EMPTY, ANONYMOUS, WHOLLY_EXPORTED, BROKEN))

HOSTILE_IDS = (
    "a b",
    "Run",
    "run",
    "..",
    "über-😀",
    "a%2Fb?c=d#e",
    "quote'\"`$(x)",
    "con",
    "x" * 300,
    "../../etc/passwd",
    "line\nbreak",
    "back\\slash",
)

HOSTILE_PROJECT = ProjectDescription(
    runs=tuple(
        RunDescription(
            run_id=run_id,
            created_at=f"2026-02-01T00:00:{number:02}",
            rows=(row(0, number=number), row(1, number=-number)),
            metadata={"number": number},
        )
        for number, run_id in enumerate(HOSTILE_IDS)
    )
)
