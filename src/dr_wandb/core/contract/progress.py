"""How far a command is, as a value: the shell reports it, and anybody may show it."""

from enum import StrEnum

from dr_wandb.core.contract.records import Record


class Stage(StrEnum):
    """What a command does at the moment."""

    STARTING = "starting"
    LISTING = "listing"
    RECORDS = "records"
    FETCHING = "fetching"
    WRITING = "writing"
    VERIFYING = "verifying"
    CONVERTING = "converting"


class Progress(Record, frozen=True, kw_only=True):
    """`done` of `total` runs are finished; `total` is 0 as long as it is not known.

    While a project is listed, `done` runs are listed so far. While the records of one of its
    datasets are read, both count these, and `dataset` names it. While files are verified, both
    count bytes; while a history is converted, rows. `rows` rows came that were not held before, and
    `bytes` of files. Of the runs so far, `failed` could not be read, and `short` ones brought fewer
    rows than are listed.
    """

    done: int
    total: int
    rows: int = 0
    failed: int = 0
    short: int = 0
    bytes: int = 0
    stage: Stage = Stage.FETCHING
    dataset: str = ""
