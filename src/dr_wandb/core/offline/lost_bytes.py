"""Byte ranges of a file that could not be read."""

from dr_wandb.core.contract.records import Record


class LostBytes(Record, frozen=True, kw_only=True):
    """Bytes of a file that could not be read as records, and why.

    `records`: the least number of lost records. `torn`: it is the end of the file and may change.
    """

    offset: int
    length: int
    reason: str
    records: int = 1
    torn: bool = False
