"""Load the records of a project from their data files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import decode_record
from dr_wandb.shell.store.decoding import decoded, opened

REMEDY = "restore the file, or delete that line and sync again"

_K = TypeVar("_K", bound=ProjectRecord)


def iter_records(path: Path, kind: type[_K]) -> Iterator[_K]:
    """Decode all lines of a data file, one at a time; none if there is no such file.

    Raises DrWandbError if a line does not read, naming it.
    """
    if path.exists():
        with opened(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield decoded(decode_record(line, kind), path, number, REMEDY)
