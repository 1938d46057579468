"""The records of a `.wandb` file that are not rows, in order, up to the end of the process.

Rules
- W&B's clients send nothing that was written after the record of the exit, such as the last samples
  of the machine.
- Records that cannot be read are skipped; reading the rows reports them.
"""

from collections.abc import Iterator

from returns.result import Success

from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.framing import read_parts
from dr_wandb.core.offline.header import HEADER, Buffer
from dr_wandb.core.offline.parts import sort_records
from dr_wandb.core.offline.records import ExitRecord, RunFileRecord


def records_until_exit(data: Buffer, end: int) -> Iterator[RunFileRecord]:
    """Give the records before the first exit record. end: the offset at which reading stops."""
    content = memoryview(data)[:end]
    for frames in read_parts(content, len(HEADER)):
        for payload in sort_records(content, frames).others:
            match decode_record(payload):
                case Success(ExitRecord()):
                    return
                case Success(record):
                    yield record
                case _:
                    pass
