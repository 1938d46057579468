"""What a conversion of an export wrote, as a value and in words."""

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import count, size_in_words


class Conversion(Record, frozen=True, kw_only=True):
    """The file at `path` has `rows` lines of history: those of the export `name`."""

    name: str
    path: str
    rows: int
    bytes: int
    sha256: str


class ConvertedExport(Record, frozen=True, kw_only=True):
    """The file or folder at `path` has runs and rows of the export `name`.

    files: those in the folder, or the file itself.
    """

    name: str
    path: str
    runs: int
    rows: int
    bytes: int
    files: tuple[str, ...]


def describe_converted(done: ConvertedExport) -> str:
    """Describe in a line of text what was written."""
    held = f"{count(done.runs, 'run')} and {count(done.rows, 'row')} of {done.name}"
    files = f" in {' and '.join(done.files)}" if len(done.files) > 1 else ""
    return f"{done.path} has {held}: {size_in_words(done.bytes)}{files}"


def describe_conversion(done: Conversion) -> str:
    """Describe in a line of text what was written."""
    return f"{done.path} has the history of {done.name}: {_size(done)}"


def _size(done: Conversion) -> str:
    return f"{count(done.rows, 'row')}, {size_in_words(done.bytes)}"
