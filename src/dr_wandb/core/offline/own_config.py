"""What W&B's clients add to the config of a run, under its key `_wandb`.

Rules (measured with SDK 0.10.12 to 0.31.0: the last config that each sent)
- The values are those of the last session. Members of `_wandb` in the file's config stay.
- A file without telemetry (SDK 0.10.19 and before) has all of it in its own config.
- `t` is the telemetry, `m` are the defined metrics. `e` is the machine and the program by writer,
  which wandb-core sends since SDK 0.21. It repeats the metadata, so it is exported only if that is
  requested.
"""

from typing import Any

from dr_wandb.core.offline.metrics import listed_by_core, listed_by_python
from dr_wandb.core.offline.run import NOBODY, UNKNOWN_PRODUCER, RunFold
from dr_wandb.core.offline.telemetry import (
    CLI_VERSION,
    CORE_VERSION,
    ENV,
    HUGGINGFACE_VERSION,
    IMPORTS_FINISH,
    IMPORTS_INIT,
    JUPYTER,
    KAGGLE,
    PYTHON_VERSION,
    core_version,
    sdk_version,
)

MACHINE, SENDS_MACHINE = "e", (0, 21)
"""The key for the machine and the program, and the first SDK version that sends it."""

SENDS_START, START_HAS_PARTS = (0, 12), ((0, 13), (0, 14), (0, 15))
"""Versions of the SDK that send the start time, and with parts of a second."""

FRAMEWORKS = (
    (8, "lightgbm"),
    (7, "catboost"),
    (6, "xgboost"),
    (49, "huggingface"),
    (11, "huggingface"),
    (10, "ignite"),
    (9, "lightning"),
    (4, "fastai"),
    (1, "torch"),
    (2, "keras"),
    (3, "tensorflow"),
    (5, "sklearn"),
)
"""Numbers of imports and W&B's names for them; the first that was imported is the framework."""


def own_config(fold: RunFold, *, with_machine: bool) -> dict[str, Any]:
    """Return what the clients send, without members that the file does not have."""
    added = _of_core(fold) if fold.producer else _of_python(fold)
    if with_machine and fold.environments and _core_version(fold) >= SENDS_MACHINE:
        added[MACHINE] = fold.environments
    return added


def _core_version(fold: RunFold) -> tuple[int, ...]:
    return core_version(fold.producer) or sdk_version(fold.telemetry)


def _of_core(fold: RunFold) -> dict[str, Any]:
    version = _core_version(fold)
    metrics = listed_by_core(fold.metrics, fold.globs, version)
    if not fold.telemetry:
        return {"m": metrics} if metrics else {}
    telemetry = dict(fold.telemetry)
    if fold.producer != UNKNOWN_PRODUCER:
        telemetry[CORE_VERSION] = fold.producer.partition("+")[0]
    return {**_versions(fold), "t": telemetry, "m": metrics}


def _of_python(fold: RunFold) -> dict[str, Any]:
    expanded = fold.replay.metrics if fold.replay is not None and fold.expands_globs else None
    metrics = listed_by_python(fold.metrics if expanded is None else expanded)
    added: dict[str, Any] = {"m": metrics} if metrics else {}
    telemetry = fold.telemetry
    if not telemetry:
        return added
    framework = _framework(telemetry.get(IMPORTS_FINISH) or telemetry.get(IMPORTS_INIT) or [])
    huggingface = telemetry.get(HUGGINGFACE_VERSION)
    env = telemetry.get(ENV, [])
    added |= {
        **_versions(fold),
        "is_jupyter_run": JUPYTER in env,
        "is_kaggle_kernel": KAGGLE in env,
    }
    added |= {"framework": framework} if framework else {}
    added |= {"huggingface_version": huggingface} if huggingface else {}
    version, started = sdk_version(telemetry), (fold.run or NOBODY).started_at
    if version >= SENDS_START and started is not None:
        seconds, nanos = started
        parts = version in START_HAS_PARTS
        added["start_time"] = (seconds * 10**6 + nanos // 1000) / 1e6 if parts else seconds
    return {**added, "t": telemetry}


def _versions(fold: RunFold) -> dict[str, Any]:
    names = {"cli_version": CLI_VERSION, "python_version": PYTHON_VERSION}
    found = {name: fold.telemetry.get(number) for name, number in names.items()}
    return {name: version for name, version in found.items() if version}


def _framework(imported: list[int]) -> str | None:
    return next((name for number, name in FRAMEWORKS if number in imported), None)
