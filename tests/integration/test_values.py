"""Every value that W&B can hold survives, and has one spelling whatever way it came.

The values are checked end to end: what the SDK's server holds against what any JSON reader reads
from the export.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

import dr_wandb
from dr_wandb.core.contract.row_shape import flatten_row
from tests.support.syncing import visible

if TYPE_CHECKING:
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, StandInServer

HISTOGRAM = {"_type": "histogram", "values": [1, 0, 3], "bins": [0, 0.5, 1, 1.5]}
IMAGE = {"_type": "image-file", "path": "media/images/a_0.png", "sha256": "0" * 64, "size": 12}

# Metrics as logged, and as they must be in the export.
FINITE: dict[str, Any] = {
    "a third": 1 / 3,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "2**53+1": 2**53 + 1,
    "2**63-1": 2**63 - 1,
    "-2**63": -(2**63),
    "1e16": 1e16,
    "1e22": 1e22,
    "zero": 0,
    "text": "x",
    "empty text": "",
    "controls": "\x00\x01\t\n\r\x1f\x7f\x85",
    "quotes": "\"\\/'",
    "scripts": "naïve Ω 漢字 😀 \u2028\u2029\ufeff",
    "yes": True,
    "no": False,
    "list": [1.5, None, [], ["x"], {"a": 2}],
    "nested": {"a": {"b": {"c": [1, 2]}}, "d.e": 1},
    "histogram": HISTOGRAM,
    "image": IMAGE,
    "a.b.c": 1,
    "a b/c": 2,
    'quote"and\\': 3,
    "ünï😀": 4,
    "line\nbreak": 5,
    "": 6,
    " ": 7,
}

SPELLED: dict[str, tuple[Any, Any]] = {
    "nan": (math.nan, "NaN"),
    "inf": (math.inf, "Infinity"),
    "-inf": (-math.inf, "-Infinity"),
    "-0.0": (-0.0, 0),
    "4.0": (4.0, 4),
    "1e15": (1e15, 10**15),
    "members": ({"a": None, "b": {"c": None}, "d": [None]}, {"b": {}, "d": [None]}),
    "deep nan": ({"a": [math.nan, {"b": math.inf}]}, {"a": ["NaN", {"b": "Infinity"}]}),
}

# Live only: Parquet has no column for them, so the stand-in writes something else.
LIVE: dict[str, tuple[str, Any]] = {
    "2**63": (str(2**63), 2**63),
    "2**64": (str(2**64), 2**64),
    "10**25": (str(10**25), 10**25),
    "-10**25": (str(-(10**25)), -(10**25)),
    "exponent": ("1.50e2", 150),
    "fraction": ("3.0", 3),
    "one e zero": ("1E0", 1),
    "long": ("0.1000000000000000055511151231257827", 0.1),
    "lone surrogate": (r'"a\ud800b"', r"a\ud800b"),
    "pair": (r'"\ud83d\ude00"', "😀"),
    "escapes": (r'"\u0000\u001f\/\u2028"', "\x00\x1f/\u2028"),
    "text that says NaN": ('"NaN"', "NaN"),
    "empty object": ("{}", {}),
    "nested tokens": ('[NaN, Infinity, {"a": -Infinity}]', ["NaN", "Infinity", {"a": "-Infinity"}]),
    "NaN token": ("NaN", "NaN"),
    "Infinity token": ("Infinity", "Infinity"),
}


def stored_values(cases: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    return flatten_row({key: stored for key, (_, stored) in cases.items()})


def test_hostile_values_survive_live(exports: Exports) -> None:
    """3.0.3 wrote NaN as a bare token, which its own loader rejected at the next sync."""
    run = exports.project.add_run("run")
    run.log(FINITE)
    run.log({key: logged for key, (logged, _) in SPELLED.items()})
    run.log(raw={key: text for key, (text, _) in LIVE.items()})
    run.log({"null": None, "loss": 1.5, "_custom": [1], "_wandb": {"a": None, "b": 1}})
    summary = exports.sync()
    assert summary.failures == ()
    rows = exports.rows()
    assert rows[0]["metrics"] == flatten_row(FINITE)
    assert rows[1]["metrics"] == stored_values(SPELLED)
    assert rows[2]["metrics"] == stored_values(LIVE)
    assert (rows[3]["metrics"], rows[3]["extra"]) == ({"loss": 1.5}, {"_custom": [1]})
    assert rows[3]["wandb_metadata"] == {"b": 1}
    for spelling in (b'"-0.0":0,', b'"1e15":1000000000000000,', b'"4.0":4,', b'"a third":0.333'):
        assert spelling in exports.history()

    before = exports.history()
    run.log({"loss": 2.5})
    exports.sync()
    assert exports.history().startswith(before)
    exports.assert_converged()
    loaded = list(dr_wandb.iter_history_rows("n", exports.data_root))
    assert loaded[0].metrics == flatten_row(FINITE)


def test_columns_of_an_unusable_type_are_kept(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log({"loss": 1.5, "_runtime": "soon", "_wandb": "text"})
    run.log({"loss": 2.5}, timestamp=1767225600.123456)
    run.log({"loss": 3.5}, timestamp=1767225601)
    exports.sync()
    first, second, third = exports.rows()
    assert (first["runtime"], first["wandb_metadata"]) == (None, {})
    assert first["extra"] == {"_runtime": "soon", "_wandb": "text"}
    assert float(second["timestamp"]) == 1767225600.123456
    assert third["timestamp"] == "1767225601"


def test_rows_have_the_same_bytes_when_they_come_from_parquet(exports: Exports) -> None:
    """3.0.3 wrote 1.0 for one way and 1 for the other, and a null for each column of the file."""
    run = exports.project.add_run("run")
    mixed = {"list", "members", "deep nan"}  # Parquet has no column for members of several kinds
    run.log({key: value for key, value in FINITE.items() if key not in mixed})
    run.log({key: logged for key, (logged, _) in SPELLED.items() if key not in mixed})
    run.log({"loss": 1.5, "list": [[1.5, None], [], [math.nan]], "box": {"a": None, "b": 2.0}})
    run.log({"loss": 1.5, "nan": 2.0, "nested": {"a": {"b": {"c": [3]}}}, "only here": [1, None]})
    run.log({"big": 2**63, "mixed": 1})
    run.log({"big": 2**64 - 1, "late": -1.5, "scripts": "\u2028"})
    run.log({"f": 2.0, "g": 1e15})
    run.log({"f": 0.5, "g": 1e16})
    exports.sync("live")
    run.finish()
    for files in (1, 3):
        run.export_parquet(files=files)
        summary = exports.sync("parquet", sync_mode="full_reconcile")
        assert summary.failures == ()
        assert exports.rows(name="parquet") == exports.rows(name="live")
        assert exports.history("parquet") == exports.history("live")
    run.export_parquet(files=2, upto=5, overlap=3)
    exports.sync("both", sync_mode="full_reconcile")
    assert exports.history("both") == exports.history("live")


def test_float32_columns_read_back_equal(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log_all({"loss": value} for value in (0.1, 0.5, 1 / 3))
    run.finish()
    run.export_parquet(float32=["loss"])
    exports.sync()
    assert [row["metrics"]["loss"] for row in exports.rows()] == [
        0.10000000149011612,
        0.5,
        0.3333333432674408,
    ]


def test_run_fields_survive(exports: Exports) -> None:
    """3.0.3 dropped notes, description, sweep, commit and line count, and spoiled the user."""
    project, created = exports.project, "2026-01-02T03:04:05"
    run = project.add_run(
        "run",
        created_at=created,
        state="failed",
        config={"lr": 1e-3, "layers": [1, 2.0], "opt": {"name": "adam", "eps": None}, "a.b": "x"},
        summary={"loss": math.nan, "best": {"top1": math.inf}, "_step": 3, "text": "ü\u2028"},
        tags=["b", "a", "😀", 'quo"te', "line\nbreak"],
        user={"username": "ada", "name": "Ada Lovelace 🧮"},
        display_name="naïve – run 😀\n",
        group="g/1",
        job_type="train",
        notes="first\nsecond \u2028 third",
        description="about",
        sweep_name="sw33p",
        commit="a" * 40,
    )
    run.config_internal = {"cli_version": "0.31.0", "m": [{"1": "loss"}]}
    run.log({"loss": 0.5})
    exports.sync()
    stored = exports.runs()["run"]
    assert stored["config"] == {
        "lr": 0.001,
        "layers": [1, 2],
        "opt": {"name": "adam", "eps": None},
        "a.b": "x",
    }
    assert stored["wandb_config"] == {"_wandb": run.config_internal}
    assert stored["summary_metrics"] == {
        "loss": "NaN",
        "best": {"top1": "Infinity"},
        "_step": 3,
        "text": "ü\u2028",
    }
    expected = {
        "run_id": "run",
        "name": run.display_name,
        "display_name": run.display_name,
        "entity": project.entity,
        "project": project.name,
        "path": [project.entity, project.name, "run"],
        "state": "failed",
        "created_at": f"{created}Z",
        "updated_at": None,
        "storage_id": run.storage_id,
        "tags": run.tags,
        "user": {"username": "ada", "name": "Ada Lovelace 🧮"},
        "group": "g/1",
        "job_type": "train",
        "notes": run.notes,
        "description": "about",
        "sweep_name": "sw33p",
        "commit": "a" * 40,
        "history_line_count": 1,
        "metadata": None,
    }
    assert {name: stored[name] for name in expected} == expected


def test_run_texts_that_are_not_strict_json_are_read(exports: Exports) -> None:
    """Configs with NaN, Infinity or control characters in them broke the listing."""
    run = exports.project.add_run("run")
    run.config_json = (
        '{"nan": {"value": NaN}, "inf": {"value": [Infinity, -Infinity]}, '
        '"control": {"value": "a\tb\nc\x01"}, "surrogate": {"value": "\\ud800"}, '
        '"big": {"value": 10000000000000000000000001}, "plain": 3, '
        '"wandb_version": 1}'
    )
    run.summary_json = '{"loss": NaN, "text": "x\ty"}'
    summary = exports.sync()
    assert summary.failures == ()
    stored = exports.runs()["run"]
    assert stored["config"] == {
        "nan": "NaN",
        "inf": ["Infinity", "-Infinity"],
        "control": "a\tb\nc\x01",
        "surrogate": "\\ud800",
        "big": 10**25 + 1,
        "plain": 3,
    }
    assert stored["wandb_config"] == {"wandb_version": 1}
    assert stored["summary_metrics"] == {"loss": "NaN", "text": "x\ty"}
    before = visible(exports.folder())
    exports.sync()
    after = visible(exports.folder())
    assert {name for name in before if before[name] != after[name]} <= {"state.json"}


def test_metadata_survives(exports: Exports) -> None:
    """The SDK's property hides every error: 3.0.3 stored a null where the download had failed."""
    first, second = exports.project.add_run("first"), exports.project.add_run("second")
    first.metadata = {"host": "ü", "args": ["--lr", "1e-3"], "gpu": {"count": 8.0}, "none": None}
    second.metadata = {"host": "b"}
    second.metadata_status = 404
    summary = exports.sync(include_metadata=True)
    assert [failed.run_id for failed in summary.metadata_failures] == ["second"]
    assert (summary.failures, summary.complete) == ((), False)
    stored = {"host": "ü", "args": ["--lr", "1e-3"], "gpu": {"count": 8}, "none": None}
    assert exports.runs()["first"]["metadata"] == stored
    second.metadata_status = 200
    summary = exports.sync(include_metadata=True)
    assert summary.complete
    assert exports.runs()["second"]["metadata"] == {"host": "b"}
    exports.sync()
    assert [run["metadata"] for run in exports.runs().values()] == [None, None]


def build_many(project: Project) -> None:
    """Build runs of every kind, enough of them that workers meet."""
    for number in range(24):
        run = project.add_run(
            f"run-{number:02}",
            created_at=f"2026-01-01T00:{number // 3:02}:00",
            config={"n": number / 3},
            user=None if number == 5 else {"username": "ada", "name": "Ada"},
        )
        run.log_all({"loss": 1 / (step + number + 1), "n": step} for step in range(30))
        if number % 3 == 1:
            run.finish()
            run.export_parquet(files=1 + number % 4)
        if number % 3 == 2:
            run.export_parquet(files=2, upto=20, overlap=number % 5)


def test_bytes_do_not_depend_on_workers_or_pages(exports: Exports) -> None:
    """3.0.3 wrote the runs in the order of their pages."""
    build_many(exports.project)
    exports.server.shuffle_parquet_urls = True
    seen = []
    for workers, per_page in ((1, 500), (8, 1), (3, 7), (8, 24)):
        exports.workers, exports.per_page = workers, per_page
        name = f"{workers}-{per_page}"
        exports.sync(name)
        files = visible(exports.folder(name))
        del files["state.json"]
        files["manifest.json"] = files["manifest.json"].replace(name.encode(), b"NAME")
        seen.append(files)
    assert all(files == seen[0] for files in seen)
    assert seen[0]["history.jsonl"].count(b"\n") == 24 * 30


@pytest.mark.parametrize("flags", [("--runs-per-page", "2"), ("--runs-per-page", "1000")])
def test_command_writes_what_the_engine_writes(
    server: StandInServer, project: Project, command: Command, flags: tuple[str, ...]
) -> None:
    """The values pass the whole command too: JSON readers read both files line by line."""
    run = project.add_run("run", config={"x": math.inf}, tags=["ü\u2028"])
    run.log({**FINITE, **{key: logged for key, (logged, _) in SPELLED.items()}})
    run.log(raw={key: text for key, (text, _) in LIVE.items()})
    for number in range(4):
        project.add_run(f"other-{number}").log({"loss": number + 0.5})
    done = command.history(*flags)
    assert done.code == 0
    rows = [row for row in done.rows() if row["run_id"] == "run"]
    assert rows[0]["metrics"] == {
        **flatten_row(FINITE),
        **stored_values(SPELLED),
    }
    assert rows[1]["metrics"] == stored_values(LIVE)
    for name in ("runs.jsonl", "history.jsonl"):
        content = (done.folder / name).read_bytes()
        for line in content.split(b"\n")[:-1]:
            value = json.loads(line, parse_constant=pytest.fail)
            assert list(value) == sorted(value)
