"""What W&B's clients add to the config, as SDK 0.10.12 to 0.31.0 sent it for the same records."""

from typing import Any

import pytest
from wandb.proto.wandb_telemetry_pb2 import TelemetryRecord

from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.offline.node import as_node
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import behind
from dr_wandb.core.offline.wandb_file import read_file
from tests.support.wandb_file import (
    config_record,
    environment_record,
    file_of,
    flags,
    header_record,
    metric_record,
    row_record,
    run_record,
    telemetry_record,
    wire_field,
)

LEGACY = header_record("")
STARTED = "2026-01-01T00:00:00.250001"
SECONDS = 1_767_225_600
RUN = run_record(started=STARTED, config={"_wandb": {}})


def own(
    *payloads: bytes, before: tuple[bytes, ...] = (), with_machine: bool = False
) -> dict[str, Any]:
    """Return `_wandb` of the config of a run, {} if it has none."""
    reading = FileReading()
    if before:
        reading = FileReading(fold=behind(read_file(file_of(before), reading).fold))
    fold = read_file(file_of(payloads), reading).fold
    node = as_node("run", fold, "finished", with_machine=with_machine)
    run = normalize_run(node, entity="e", project="p")
    found: dict[str, Any] = run.wandb_config.get("_wandb", {})
    return found


def telemetry(version: str, *features: int) -> bytes:
    """Return what SDK 0.13 and later say of the program, flags that are gone since among it."""
    fields = [
        *(wire_field(1, flags(55, 5, 1)), wire_field(2, flags(55, 3))),
        *(
            wire_field(3, flags(*features)),
            wire_field(4, b"3.9.18"),
            wire_field(5, version.encode()),
        ),
        *(wire_field(8, flags(5)), wire_field(10, flags())),
        *(wire_field(9, wire_field(2, b"a label")), wire_field(200, b"")),
    ]
    return wire_field(11, b"".join(fields))


# --- versions and telemetry


@pytest.mark.parametrize("version", ["9" * 5000 + ".1", "0." + "9" * 5000])
def test_version_of_thousands_of_digits_is_unknown(version: str) -> None:
    """Python refuses to make a number of it, which ended the sync of a whole folder."""
    assert own(LEGACY, RUN, telemetry(version))["cli_version"] == version
    assert own(header_record(version), RUN, telemetry("0.21.0"))["t"]["12"] == version


@pytest.mark.parametrize("header", [LEGACY, header_record()])
def test_telemetry_of_a_wrong_wire_type_says_nothing(header: bytes) -> None:
    """One such file ended the sync of a whole folder."""
    numbers = b"".join(flags(number) for number in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12))
    kept = wire_field(5, b"0.13.1") + wire_field(2, wire_field(49, b"x") + flags(3)) + flags(77)
    for before, behind_it in ((numbers, b""), (b"", numbers)):
        told = own(header, RUN, wire_field(11, before + kept + behind_it))["t"]
        assert {key: told[key] for key in told if key != "12"} == {"2": [3], "5": "0.13.1", "77": 1}


@pytest.mark.parametrize(
    ("version", "start"),
    [
        ("0.10.33", {}),
        ("0.12.21", {"start_time": SECONDS}),
        ("0.13.11", {"start_time": SECONDS + 0.250001}),
        ("0.15.12", {"start_time": SECONDS + 0.250001}),
        ("0.16.6", {"start_time": SECONDS}),
        ("0.17.9", {"start_time": SECONDS}),
    ],
)
def test_own_config_of_the_python_client_has_its_versions_and_telemetry(
    version: str, start: dict[str, Any]
) -> None:
    """`wandb_config` was empty: no run could be told by the version that made it."""
    assert own(LEGACY, RUN, telemetry(version, 16, 23)) == {
        "cli_version": version,
        "python_version": "3.9.18",
        "is_jupyter_run": False,
        "is_kaggle_kernel": False,
        "framework": "tensorflow",
        "t": {
            "1": [1, 5, 55],
            "2": [3, 55],
            "3": [16, 23],
            "4": "3.9.18",
            "5": version,
            "8": [5],
            "9": {"2": "a label"},
        },
        **start,
    }


@pytest.mark.parametrize("with_machine", [False, True], ids=["", "with machine"])
@pytest.mark.parametrize("producer", ["0.18.7+8c5b31a", "0.21.4+c93d859"])
def test_own_config_of_wandb_core_has_the_machine_only_if_that_is_asked_for(
    producer: str, with_machine: bool
) -> None:
    machine = [
        environment_record(host="vm", cpu_count=2, writer_id="w"),
        environment_record(memory={"total": 5}, writer_id="w"),
    ]
    version = producer.partition("+")[0]
    payloads = [header_record(producer), RUN, *machine, telemetry(version, 16)]
    found = own(*payloads, with_machine=with_machine)
    if with_machine and version == "0.21.4":
        sent = {"host": "vm", "cpu_count": 2, "memory": {"total": "5"}, "writerId": "w"}
        assert found.pop("e") == {"w": sent}
    assert found == {
        "cli_version": version,
        "python_version": "3.9.18",
        "t": {
            "1": [1, 5, 55],
            "2": [3, 55],
            "3": [16],
            "4": "3.9.18",
            "5": version,
            "8": [5],
            "9": {"2": "a label"},
            "12": version,
        },
        "m": [],
    }


def test_telemetry_records_are_added_up() -> None:
    said = [
        telemetry("0.13.0", 16),
        telemetry("0.13.11", 2),
        wire_field(11, wire_field(3, b"\xff")),
    ]
    told = own(LEGACY, RUN, *said)["t"]
    assert (told["3"], told["5"]) == ([2, 16], "0.13.11")


def test_telemetry_records_are_added_up_when_a_file_is_read_in_two_pieces() -> None:
    label = wire_field(11, wire_field(9, wire_field(3, b"new")) + flags(77) + b"\x0b\x0c")
    payloads = [LEGACY, RUN, telemetry("0.13.0", 16), telemetry("0.13.11", 2), label]
    at_once = read_file(file_of(payloads), FileReading()).fold
    pieces = read_file(file_of(payloads[:3]), FileReading())
    assert read_file(file_of(payloads), pieces).fold == at_once
    assert at_once.telemetry["9"] == {"2": "a label", "3": "new"}
    assert at_once.telemetry["77"] == 1


def test_own_config_of_a_file_whose_header_is_lost_is_that_of_wandb_core() -> None:
    """Which version wrote it is told by telemetry."""
    payloads = [RUN, telemetry("0.31.0", 16), *GLOBS, environment_record(host="vm", writer_id="w")]
    found = own(*payloads)
    assert ("e" in found, "12" in found["t"]) == (False, False)
    assert own(*payloads, with_machine=True)["e"] == {"w": {"host": "vm", "writerId": "w"}}
    assert {"2": "val/*", "5": 3, "6": [1], "7": []} in found["m"]


@pytest.mark.parametrize("header", [LEGACY, header_record()])
def test_definition_of_an_axis_alone_is_no_metric(header: bytes) -> None:
    assert own(header, RUN, metric_record(axis="epoch"), metric_record("a"))["m"][0]["1"] == "a"


def test_telemetry_in_the_run_record_counts() -> None:
    run = run_record(telemetry=TelemetryRecord(cli_version="0.17.9", env={"jupyter": True}))
    found = own(LEGACY, run)
    assert (found["cli_version"], found["is_jupyter_run"]) == ("0.17.9", True)


@pytest.mark.parametrize("header", [header_record("0.31.0"), LEGACY])
def test_machine_in_the_config_of_a_file_is_left_out_unless_asked_for(header: bytes) -> None:
    """A script may copy the config of another run, with what W&B's client had added to it."""
    copied = config_record({("_wandb", "e"): {"w": {"host": "vm"}}, ("_wandb", "x"): 1})
    assert own(header, RUN, copied) == own(header, RUN, config_record({("_wandb", "x"): 1}))
    assert own(header, RUN, copied, with_machine=True)["e"] == {"w": {"host": "vm"}}


def test_machine_is_that_of_the_last_session() -> None:
    header = header_record("0.31.0")
    before = (header, RUN, environment_record(host="one", writer_id="w"))
    found = own(
        *(header, RUN, environment_record(host="two", writer_id="v")),
        before=before,
        with_machine=True,
    )
    assert found["e"] == {"v": {"host": "two", "writerId": "v"}}


def test_own_config_is_that_of_the_last_session() -> None:
    first = (LEGACY, RUN, telemetry("0.15.12", 16), metric_record("loss"))
    found = own(LEGACY, run_record(), telemetry_record("0.17.9", resumed=True), before=first)
    assert (found["t"]["3"], found["cli_version"]) == ([5], "0.17.9")
    assert "m" not in found


def test_own_config_keeps_what_the_file_says() -> None:
    """SDK 0.10.0 to 0.10.19 write all of it; custom charts are in the file with every SDK."""
    written = {"cli_version": "0.10.12", "python_version": "3.7.16", "is_jupyter_run": False}
    chart = config_record({("_wandb", "visualize", "roc"): {"panel_type": "Vega2"}})
    run = run_record(config={"_wandb": written})
    assert own(LEGACY, run) == written
    assert own(LEGACY, run, chart) == {**written, "visualize": {"roc": {"panel_type": "Vega2"}}}
    assert own(header_record(), RUN, telemetry("0.31.0", 16), chart)["visualize"]


@pytest.mark.parametrize("header", [LEGACY, header_record()])
def test_own_config_is_empty_if_a_file_says_nothing_of_it(header: bytes) -> None:
    assert own(header, run_record(config={"a": 1})) == {}


# --- metrics

DEFINITIONS = [
    metric_record("loss", axis="epoch", summary=["min"], step_sync=True),
    metric_record("acc", summary=["max", "mean"]),
    metric_record("h", hidden=True),
    metric_record("goal", summary=["best"], goal=2),
    metric_record("twice", summary=["min"]),
    metric_record("twice", summary=["max"]),
    metric_record("none", summary=["none"]),
    metric_record("ow", axis="epoch", step_sync=True),
    metric_record("ow", summary=["copy"], replaces=True),
]


def test_metrics_of_the_python_client_list_an_axis_before_its_metric() -> None:
    """An axis that was not defined is put in before its metric."""
    assert own(LEGACY, RUN, *DEFINITIONS)["m"] == [
        {"1": "epoch"},
        {"1": "loss", "5": 1, "6": [1, 3], "7": [1]},
        {"1": "acc", "6": [3], "7": [2, 3]},
        {"1": "h", "6": [2, 3]},
        {"1": "goal", "6": [3], "7": [4], "8": 2},
        {"1": "twice", "6": [3], "7": [1, 2]},
        {"1": "none", "6": [3], "7": [6]},
        {"1": "ow", "6": [3], "7": [7]},
    ]


@pytest.mark.parametrize(("producer", "twice"), [("0.18.7+1", [2]), ("0.31.0+1", [1, 2])])
def test_metrics_of_wandb_core_list_an_axis_behind_its_first_metric(
    producer: str, twice: list[int]
) -> None:
    """An axis is put in behind the first metric that needs it; `best` and `copy` are dropped."""
    assert own(header_record(producer), RUN, *DEFINITIONS)["m"] == [
        {"1": "loss", "5": 2, "6": [1, 3], "7": [1]},
        {"1": "epoch", "6": [], "7": []},
        {"1": "acc", "6": [3], "7": [2, 3]},
        {"1": "h", "6": [2, 3], "7": []},
        {"1": "goal", "6": [3], "7": [], "8": 2},
        {"1": "twice", "6": [3], "7": twice},
        {"1": "none", "6": [3], "7": [6]},
        {"1": "ow", "6": [3], "7": []},
    ]


GLOBS = [
    metric_record("loss"),
    metric_record(glob="val/*", axis="epoch", step_sync=True),
    metric_record(glob="*", summary=["max"]),
]
ROWS = [
    row_record({"loss": 1, "_own": 1, "_step": 0}, flat=True),
    row_record({"val/f1": 1, "deep": {"a": 1, "b.c": 2}, "val/acc": 1, "_step": 1}, flat=True),
    row_record({"val/acc": 2, "epoch": 1, "_step": 2}, flat=True),
]
EXPANDED = [
    {"1": "loss", "6": [3]},
    {"1": "epoch"},
    {"1": "val/f1", "5": 2, "6": [1]},
    {"1": "deep.a", "7": [2]},
    {"1": "deep.b\\.c", "7": [2]},
    {"1": "val/acc", "5": 2, "6": [1]},
]


@pytest.mark.parametrize("telling", [[], [telemetry_record("0.17.9")]])
def test_globs_of_the_python_client_are_metrics_once_a_row_has_them(telling: list[bytes]) -> None:
    assert own(LEGACY, RUN, *telling, *GLOBS, *ROWS)["m"] == EXPANDED


def test_globs_of_a_run_that_was_offline_are_none() -> None:
    """`wandb sync` of such a file does not look for them."""
    offline = telemetry_record("0.17.9", feature={"offline": True})
    assert own(LEGACY, RUN, *GLOBS, *ROWS, offline)["m"] == [{"1": "loss", "6": [3]}]


@pytest.mark.parametrize(
    ("producer", "made", "listed"),
    [
        ("0.18.7+1", [], []),
        ("0.31.0+1", [], [{"2": "val/*", "5": 1, "6": [1], "7": []}]),
        ("0.25.0+1", ["val/f1"], [{"1": "val/f1", "5": 1, "6": [1, 3], "7": []}]),
    ],
)
def test_globs_of_wandb_core_are_listed_unless_the_file_has_what_they_made(
    producer: str, made: list[str], listed: list[dict[str, Any]]
) -> None:
    """SDK 0.31 leaves them to the server; others write the metrics that match into the file."""
    written = [
        metric_record(key, axis="epoch", summary=[], defined=False, replaces=True, step_sync=True)
        for key in made
    ]
    glob = metric_record(glob="val/*", axis="epoch", step_sync=True)
    found = own(header_record(producer), RUN, metric_record("epoch"), glob, *written)["m"]
    assert found == [{"1": "epoch", "6": [3], "7": []}, *listed]


def test_axes_that_form_a_long_chain_or_a_circle_are_listed_once() -> None:
    chain = [metric_record(f"m{number}", axis=f"m{number + 1}") for number in range(2_000)]
    loop = [metric_record("m2000", axis="m0"), metric_record("self", axis="self")]
    for header in (LEGACY, header_record()):
        found = own(header, RUN, *chain, *loop)["m"]
        assert len(found) == 2_002
        assert found[-1]["5"] == 2_002


def test_axis_that_is_not_listed_is_left_out() -> None:
    """A definition before the header of its file ended the sync of a whole folder."""
    assert own(RUN, metric_record("a", axis="b"), LEGACY)["m"] == [{"1": "a", "6": [3]}]


@pytest.mark.parametrize("with_machine", [False, True])
def test_own_config_that_is_no_object_stays(with_machine: bool) -> None:
    machine = environment_record(host="vm", writer_id="w")
    payloads = [header_record("0.31.0"), run_record(config={"_wandb": 5}), machine]
    fold = read_file(file_of(payloads), FileReading()).fold
    node = as_node("run", fold, "finished", with_machine=with_machine)
    assert node["config"] == {"_wandb": {"value": 5}}
