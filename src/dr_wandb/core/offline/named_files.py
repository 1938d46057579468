"""The files that the client of a run named for an upload, as a `.wandb` file has them.

Rules
- A path is relative to the folder of the run's files. It may be anything, as a script may name it.
- wandb-core names each file (0.19.4 to 0.31.0). Clients written in Python named patterns, too. One
  that may fit several files names none.
"""

from google.protobuf.message import DecodeError

from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.missing_files import is_pattern
from dr_wandb.core.offline.records import FilesRecord, HeaderRecord
from dr_wandb.core.offline.schema import files_class
from dr_wandb.core.offline.text import text_of
from dr_wandb.core.offline.timeline import records_until_exit


def named_files(data: Buffer, end: int) -> set[str]:
    """Return the paths of the files that a file names. end: the offset to stop at."""
    named: set[str] = set()
    of_core = False
    for record in records_until_exit(data, end):
        match record:
            case HeaderRecord(producer=producer):
                of_core = bool(producer)
            case FilesRecord(raw=raw):
                named |= _paths(raw)
            case _:
                pass
    return named if of_core else {one for one in named if not is_pattern(one)}


def _paths(raw: bytes) -> set[str]:
    """Return the paths in a record, none if it cannot be read."""
    try:
        return {text_of(one.path) for one in files_class().FromString(raw).files}
    except DecodeError:
        return set()
