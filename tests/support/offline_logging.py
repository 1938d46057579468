"""Log runs with the real SDK in offline mode, as a training machine without network does.

- What is logged stands here as plain values, and beside it what W&B stores for them where that is
  something else: a test knows what must come out without reading a `.wandb` file.
- A script runs in a process of its own, `python -m tests.support.offline_logging SCRIPT`. It is
  given no key, a private home, and a server that is not there.
- A script tells what only the SDK knows (the runtime of a row, its own view of the summary) as one
  JSON document a line, and waits for a line where the test has something to do.
"""

from __future__ import annotations

import glob
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

START = 1_767_225_600
"""The moment of the first row, in epoch seconds."""

HISTOGRAM = {"_type": "histogram", "values": [1, 0, 3], "bins": [0, 0.5, 1, 1.5]}
"""Logged as a `wandb.Histogram`."""

ABSENT = object()
"""What the SDK does not write down at all."""


@dataclass(frozen=True)
class Step:
    """What is logged for one step, call by call; `stored`: what becomes of it, where not itself."""

    step: int
    calls: tuple[dict[str, Any], ...]
    stored: dict[str, Any] = field(default_factory=dict)

    @property
    def timestamp(self) -> float:
        """The moment of the row."""
        return START + self.step / 3

    def row(self, runtime: float) -> dict[str, Any]:
        """Return the row as W&B stores it."""
        row: dict[str, Any] = {"_step": self.step, "_timestamp": self.timestamp}
        for metrics in self.calls:
            row |= metrics
        row |= {**self.stored, "_runtime": runtime}
        return {key: value for key, value in row.items() if value is not ABSENT}


def one(step: int, stored: dict[str, Any] | None = None, /, **metrics: Any) -> Step:
    """Return a step of one call."""
    return Step(step, (metrics,), stored or {})


RICH_STEPS = (
    Step(
        0,
        (
            {
                "loss": 0.5,
                "acc": 0.25,
                "val/acc": 0.125,
                "a.b.c": 1,
                "nested": {"a": 1, "b": {"c": 2.5, "d.e": -1}},
                "ünï😀": 4,
                'quote"and\\': 5,
                "line\nbreak": 6,
                " ": 7,
                "": 8,
                "empty text": "",
            },
        ),
        # The metric of an axis is written beside the ones that it is the axis of, 0 at first.
        {"": ABSENT, "epoch": 0},
    ),
    Step(
        5,
        (
            {
                "a third": 1 / 3,
                "tiny": 5e-324,
                "huge": 1.7976931348623157e308,
                "2**53+1": 2**53 + 1,
                "2**63-1": 2**63 - 1,
                "-2**63": -(2**63),
                "2**64-1": 2**64 - 1,
                "10**25": 10**25,
                "1e-7": 1e-7,
                "1e15": 1e15,
                "1e16": 1e16,
                "1e22": 1e22,
                "4.0": 4.0,
                "-0.0": -0.0,
                "zero": 0,
                "yes": True,
                "no": False,
                "_custom": 3,
            },
        ),
        # Integers beyond 64 bits are stored as doubles (wandb 0.31.0), others are exact.
        {"2**64-1": float(2**64 - 1), "10**25": 1e25},
    ),
    one(9, loss=0.25, nan=math.nan, inf=math.inf, ninf=-math.inf, deep={"nan": [math.nan, 1.5]}),
    Step(12, ({"acc": 0.5, "first call": 1}, {"acc": 0.75, "second call": "ü"})),
    Step(
        13,
        (
            {
                "controls": "\x00\x01\t\n\r\x1f\x7f\x85",
                "scripts": "naïve Ω 漢字 😀 \u2028\u2029\ufeff",
                "three blocks": "0123456789abcde\n" * 6000,
                "floats": [1.5, 2.0, -0.25],
                "words": ["a", "b,c"],
                "nothing": [],
                "histogram": HISTOGRAM,
            },
        ),
    ),
    one(14, loss=0.75, none=None, box={"a": None, "b": 2}, hushed=1, lastly=3, copied=4, epoch=2),
    Step(15, ({"deep": {"a": {"c": [1, 2]}}}, {"val/acc": 9, "lastly": 2}), {"epoch": 2}),
    one(40_000, loss=1e16, copied=5),
)
"""Every value that the SDK takes and a column of a Parquet file holds."""

MIXED_STEPS = (
    # Objects without a member are not written down.
    one(
        0,
        {"deep": ABSENT, "empty": ABSENT},
        mixed=1.5,
        list=[1, 2.5, None, "x", [1, {"a": None}]],
        deep={"a": {}},
        empty={},
    ),
    one(
        1, {"big": [2.0**64, -1e20]}, mixed="text", deep={"a": {"b": None}}, big=[2**64, -(10**20)]
    ),
    one(2, {"big": 2.0**70}, mixed={"a": 1, "b": [math.inf]}, deep={"a": {"b": [{}]}}, big=2**70),
    one(3, mixed=None, deep=[[]]),
    one(4, mixed=True, **{f"key {number}": number / 7 for number in range(300)}),
)
"""What has no one column in a Parquet file."""

MANY_STEPS = tuple(
    Step(number, ({"loss": 1 / (number + 1), "number": number, "part/ä": number % 7},))
    for number in range(250)
)
"""Rows as most runs have them."""

TYPED_STEPS = tuple(
    replace(step, stored={k: v for k, v in step.stored.items() if k != "epoch"})
    for step in (*RICH_STEPS[:-1], replace(MIXED_STEPS[2], step=20))
)
"""What is logged once more, in another way of writing it down."""

CONFIG = {
    "lr": 0.1,
    "net": {"depth": 3, "opt.name": "adam", "eps": None},
    "none": None,
    "nan": math.nan,
    "inf": [math.inf, -math.inf],
    "list": [1, 2.5, None, "x", {"a": []}],
    "ü.key/": "✓ \u2028",
    "big": 2**53 + 1,
}
CONFIG_UPDATES: tuple[dict[str, Any], ...] = (
    {"lr": 1e-7, "net": {"depth": 4, "more": {"x": 1}}},
    {"added.late": {"y": {}, "z": [{}]}, "empty": {}},
)
STORED_CONFIG = {
    **CONFIG,
    "lr": 1e-7,
    "net": {"depth": 4, "opt.name": "adam", "eps": None, "more": {"x": 1}},
    "nan": None,
    "added.late": {"z": [{}]},
}
"""What W&B is told: an update goes into objects that are there, objects without a member are left
out, and a NaN is null (wandb 0.29 and 0.31, seen in what `wandb sync` sends)."""


# What runs in the process of a script.


def begin(run_id: str, *, project: str = "project", typed: bool = False, **fields: Any) -> Any:
    """Begin a run that says nothing of the machine by itself.

    typed: write values in both ways that the SDK has, if it has them.
    """
    import wandb

    settings: dict[str, Any] = {"x_disable_stats": True, "disable_git": True, "disable_code": True}
    if typed and "x_history_value_encoding" in wandb.Settings.model_fields:
        settings["x_history_value_encoding"] = "json,typed"
    return wandb.init(project=project, id=run_id, settings=wandb.Settings(**settings), **fields)


def tell(**what: Any) -> None:
    """Tell the test something."""
    print(json.dumps(what), flush=True)


def wait() -> None:
    """Wait until the test says that it may go on."""
    sys.stdin.readline()


def log_steps(run: Any, steps: Iterable[Step]) -> list[float]:
    """Log, and return the runtime that the SDK gave to each row."""
    runtimes = []
    for step in steps:
        for place, metrics in enumerate(step.calls):
            whole = place == len(step.calls) - 1
            logged = {key: _loggable(value) for key, value in metrics.items()}
            run.log({**logged, "_timestamp": step.timestamp}, step=step.step, commit=whole)
        runtimes.append(run.summary["_runtime"])
    return runtimes


def _loggable(value: Any) -> Any:
    import wandb

    if value is HISTOGRAM:
        return wandb.Histogram(np_histogram=(value["values"], value["bins"]))
    return value


def plain(value: Any) -> Any:
    """Return the SDK's own view of a summary as plain values."""
    if hasattr(value, "keys"):
        return {key: plain(value[key]) for key in value.keys()}  # noqa: SIM118 - has no items
    return value


def tell_run(run: Any, runtimes: Sequence[float]) -> None:
    """Tell what the SDK makes of a run that is about to end."""
    tell(
        run_id=run.id,
        runtimes=runtimes,
        summary=plain(dict(run.summary)),
        started=run.start_time,
    )


def log_runs() -> None:
    """Log runs that end as they should, one after the other, and the first half of another."""
    _log_first_half()
    _log_rich()
    for run_id, steps in (("mixed", MIXED_STEPS), ("many", MANY_STEPS), ("typed", TYPED_STEPS)):
        run = begin(run_id, typed=run_id == "typed")
        runtimes = log_steps(run, steps)
        tell_run(run, runtimes)
        run.finish()
    begin("failed").finish(exit_code=3)
    for project in ("project", "other"):
        run = begin("twin", project=project)
        run.log({"of": project})
        run.finish()
    owners: tuple[tuple[str, dict[str, Any]], ...] = (
        ("elsewhere", {"project": "other"}),
        ("theirs", {"entity": "somebody"}),
        ("ours", {"entity": "entity"}),
    )
    for run_id, fields in owners:
        run = begin(run_id, **fields)
        run.log({"loss": 0.5})
        run.finish()


def _log_rich() -> None:
    run = begin(
        "rich",
        config=CONFIG,
        name="first name",
        tags=["b", "a"],
        notes="first\nnotes",
        group="gröup/1",
        job_type="train",
    )
    for key, how in (
        ("loss", "min"),
        ("acc", "max,mean"),
        ("hushed", "none"),
        ("lastly", "last,first"),
        ("copied", "copy"),
    ):
        run.define_metric(key, summary=how)
    run.define_metric("val/*", step_metric="epoch", hidden=True)
    runtimes = log_steps(run, RICH_STEPS)
    run.summary["final"] = {"deep": {"x": 1, "gone": 2}, "list": [1, math.inf]}
    run.summary["best.acc"] = 3
    run.summary.update({"text": "ü", "number": 2**53 + 1})
    del run.summary["words"]
    run.summary["final"]["deep"]["y"] = 2
    del run.summary["final"]["deep"]["gone"]
    for update in CONFIG_UPDATES:
        run.config.update(update, allow_val_change=True)
    run.name = "näme/ü 😀"
    run.tags = (*run.tags, "ç")
    run.notes = "other\nnötes \u2028"
    tell_run(run, runtimes)
    run.finish()


HALVES = (
    tuple(one(step, loss=1 / (step + 1), first=step) for step in range(5)),
    tuple(one(step, loss=2 / (step + 1), second=step) for step in range(4)),
)
"""A resumed run: the second process does not know how far the first one came."""


def _log_first_half() -> None:
    run = begin("resumed", config={"lr": 0.1, "net": {"depth": 3}}, tags=["a"], name="first")
    runtimes = log_steps(run, HALVES[0])
    run.summary.update({"kept": 1, "gone": {"a": 1}})
    tell_run(run, runtimes)
    run.finish(exit_code=1)


def resume_and_raise() -> None:
    """Log the second half of the resumed run; then another run, whose script raises."""
    run = begin("resumed", resume="allow", config={"lr": 0.2}, tags=["a", "b"])
    for step in HALVES[1]:
        run.log({**step.calls[0], "_timestamp": step.timestamp + 100}, commit=True)
    run.summary.update({"late": True})
    tell_run(run, [])
    run.finish()
    run = begin("raised")
    run.log({"loss": 0.5, "_timestamp": START}, commit=True)
    run.log({"loss": 0.25, "_timestamp": START + 1}, commit=False)
    raise ValueError("the loss is too high")


def log_for_ever() -> None:
    """Log as fast as it goes until the process is killed; another run has hardly begun."""
    import wandb

    run = begin("killed")
    barely = wandb.init(project="project", id="barely", reinit="create_new")
    barely.log({"loss": 0.5})
    tell(paths=[str(Path(one.dir).parent / f"run-{one.id}.wandb") for one in (run, barely)])
    number = 0
    while True:
        run.log({"number": number, "third": number / 3}, step=number)
        number += 1


def log_while_watched() -> None:
    """Log some rows, tell how many, and wait; the machine is sampled meanwhile."""
    import wandb

    settings = wandb.Settings(x_stats_sampling_interval=0.1, disable_git=True, disable_code=True)
    run = wandb.init(project="project", id="watched", settings=settings, config={"lr": 0.1})
    tell(path=str(Path(run.dir).parent / "run-watched.wandb"))
    for number in range(800):
        run.log({"number": number, "third": number / 3, "text": "x" * 100}, step=number)
        if number % 400 == 399:
            tell(logged=number + 1)
            wait()
    run.finish()


def print_much() -> None:
    """Print what a program may print, with bars and colors, cut anywhere; its output is dropped."""
    with Path(os.devnull).open("w") as sys.stdout, Path(os.devnull).open("w") as sys.stderr:
        _print_much()


def _print_much() -> None:
    import wandb  # it captures the streams that are there when it is imported

    settings = wandb.Settings(console="wrap", disable_git=True, disable_code=True)
    run = wandb.init(project="project", id="printed", settings=settings)
    choose = random.Random(7)
    pieces = ["epoch 1", "\n", "\r", "\x1b[A", "\x1b[B" * 7, "\x1b", "[", "é漢😀", "\x1b[2K", " "]
    pieces += ["line\n" * 3, "\t", "x" * 500, "\x1b[31mred\x1b[0m\n", "A", "B", "\x1b[A" * 40]
    for _ in range(1500):
        stream = sys.stderr if choose.random() < 0.2 else sys.stdout
        stream.write("".join(choose.choices(pieces, k=choose.randint(1, 12))))
        if choose.random() < 0.3:
            stream.flush()
    run.log({"loss": 0.5})
    run.finish()


def log_artifacts() -> None:
    """Log artifacts, and tell what the SDK says of each."""
    import wandb

    run = begin("logs-artifacts")
    place = Path(os.environ["WANDB_DIR"])
    (place / "file").write_text("content")
    for name, metadata in (("data", {"rows": 3, "ratio": 0.5}), ("empty", None)):
        artifact = wandb.Artifact(name, type="dataset", description="text", metadata=metadata)
        if metadata is not None:
            artifact.add_file(str(place / "file"), name="sub/ü file")
            artifact.add_reference("other://bucket/key", name="there", checksum=False)
        run.log_artifact(artifact, aliases=["best", "latest"], tags=["b", "a"])
        manifest = artifact.manifest.to_manifest_json()
        tell(name=name, digest=artifact.manifest.digest(), manifest=manifest, metadata=metadata)
    run.finish()


def save_files() -> None:
    """Save files of all kinds; some are deleted when the run has ended."""
    import wandb

    run = begin("saves-files")
    place = Path(os.environ["WANDB_DIR"])
    (place / "out").mkdir()
    saved = ("kept.txt", "we[i]rd.txt", "b\\s.txt", "gone.txt", "out/a.bin", "out/gone.bin")
    for name in saved:
        (place / name).write_text(name)
    for name in saved[:4]:
        run.save(glob.escape(str(place / name)), base_path=str(place), policy="now")
    for policy in ("end", "live"):
        run.save(str(place / "out/*"), base_path=str(place), policy=policy)
    run.save(str(place / "nothing-*"), base_path=str(place))
    (Path(run.dir) / "unsaved.txt").write_text("unsaved")
    run.log({"page [0]*": wandb.Html("<b>page</b>"), "gone": wandb.Html("<b>gone</b>")})
    folder = Path(run.dir)
    run.finish()
    for path in (folder / "gone.txt", folder / "out/gone.bin", *folder.glob("media/html/gone_*")):
        path.unlink()


SCRIPTS: dict[str, Callable[[], None]] = {
    script.__name__: script
    for script in (
        log_runs,
        resume_and_raise,
        log_for_ever,
        log_while_watched,
        print_much,
        log_artifacts,
        save_files,
    )
}


# What runs in the process of a test.


class Script:
    """A script that was started."""

    def __init__(self, process: subprocess.Popen[str], complaints: Path) -> None:
        self.process = process
        self._complaints = complaints

    @property
    def _stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def listen(self) -> dict[str, Any]:
        """Return the next that it tells."""
        line = self._stdout.readline()
        assert line, self._complaints.read_text()
        told: dict[str, Any] = json.loads(line)
        return told

    def go_on(self) -> None:
        """Let it go on where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, code: int = 0) -> list[dict[str, Any]]:
        """Wait for its end, and return what else it told."""
        told = [json.loads(line) for line in self._stdout]
        assert self.process.wait(60) == code, self._complaints.read_text()
        return told

    def stop(self) -> None:
        """End it at once, wherever it is."""
        self.process.kill()
        self.process.communicate()


class Machine:
    """A training machine; its scripts write below `tree`, each job in a folder of its own.

    Leaving the context ends every script that still runs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tree = place / "jobs"
        self._scripts: list[Script] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        for script in self._scripts:
            script.stop()

    def start(self, script: str, job: str = "a") -> Script:
        """Start a script."""
        folder, home, temp = self.tree / job, self.place / "home", self.place / "temp"
        for one_folder in (folder, home, temp):
            one_folder.mkdir(parents=True, exist_ok=True)
        complaints = self.place / f"{script}.txt"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "TMPDIR": str(temp),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_BASE_URL": "http://127.0.0.1:9",
            "WANDB_CACHE_DIR": str(home / "cache"),
            "WANDB_CONFIG_DIR": str(home / "config"),
            "WANDB_DATA_DIR": str(home / "data"),
        }
        with complaints.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.offline_logging", script],
                env=environment,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                encoding="utf-8",
            )
        self._scripts.append(Script(process, complaints))
        return self._scripts[-1]


if __name__ == "__main__":
    SCRIPTS[sys.argv[1]]()
