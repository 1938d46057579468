"""Byte ranges of a file that could not be read."""

from dr_wandb.core.contract.records import Record


class LostBytes(Record, frozen=True, kw_only=True):
    """Bytes of a file that could not be read as records, and why.

    `records`: at least so many were lost. `torn`: it is the end of the file, which may change.
    """

    offset: int
    length: int
    reason: str
    records: int = 1
    torn: bool = False
