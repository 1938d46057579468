"""Check the blobs of an export: each that a line names is there, with its bytes.

Rules
- A blob is read and hashed, which proves its bytes; a quick check looks at its size alone.
- A blob that no line names is no problem, and is counted in a note.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from dr_wandb.core.contract.amounts import size_in_words
from dr_wandb.core.contract.export_files import BLOBS_FOLDER
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.row_forms import decode_run_file
from dr_wandb.core.contract.wording import count
from dr_wandb.core.inspect.verify import FindingKind, Findings, NoteKind
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.store.blobs import blobs_folder, find_blobs, hash_file
from dr_wandb.shell.store.named_blobs import BlobUse, blobs_in_use, catalogues

READERS = 4
"""Hashing releases Python's lock, so that as many files are read at once."""

TOGETHER = 1000
"""At most this many blobs wait to be read."""

UNNAMED = (
    "{} ({}) that no file names: an interrupted sync or a change of the files left them; a sync "
    "with --prune removes those that no later sync will use"
)


def sizes_of_blobs(folder: Path) -> Iterator[int]:
    """Return the size of each blob of an export."""
    return (one.size for one in find_blobs(folder))


def check_blobs(
    folder: Path, findings: Findings, *, quick: bool, arrived: Callable[[int], None]
) -> tuple[int, int]:
    """Find blobs that are missing or altered. Returns how many are right, and their bytes.

    arrived: takes the number of bytes that were read.
    """
    if not catalogues(folder) and not blobs_folder(folder).exists():
        return 0, 0
    right = right_bytes = unnamed = size = 0
    with TemporaryDirectory(prefix="dr-wandb-") as private:
        uses = iter(blobs_in_use(folder, _readable(folder), Path(private)))
        while some := list(islice(uses, TOGETHER)):
            for use, problem in _problems(some, quick=quick):
                if use.file is None and use.found is not None:
                    unnamed, size = unnamed + 1, size + use.found.size
                elif problem:
                    _report(findings, use, problem)
                elif use.found is not None:
                    right, right_bytes = right + 1, right_bytes + use.found.size
                arrived(use.found.size if use.found is not None else 0)
    if unnamed:
        text = UNNAMED.format(count(unnamed, "blob"), size_in_words(size))
        findings.note(NoteKind.UNNAMED, text)
    return right, right_bytes


def _readable(folder: Path) -> Iterator[RunFile]:
    """Give the lines that read; the check of the file itself reports the others."""
    for path in catalogues(folder):
        with path.open("rb") as stream:
            for line in stream:
                row = decode_run_file(line).value_or(None)
                if row is not None:
                    yield row


def _problems(uses: Iterable[BlobUse], *, quick: bool) -> Iterator[tuple[BlobUse, str]]:
    """Say what is wrong with each of some blobs, "" for nothing."""
    to_read = []
    for use in uses:
        problem = _problem_at_first_look(use)
        if problem or quick or use.file is None:
            yield use, problem
        else:
            to_read.append(use)
    yield from in_lanes([(to_read, READERS)], _problem_of_bytes)


def _problem_at_first_look(use: BlobUse) -> str:
    if use.found is None:
        return "is missing"
    if use.file is not None and use.file.size not in (None, use.found.size):
        return f"has {use.found.size:,} bytes, not {use.file.size:,}"
    return ""


def _problem_of_bytes(use: BlobUse) -> str:
    assert use.found is not None
    try:
        sha256, _, _ = hash_file(use.found.path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if sha256 == use.sha256 else "has other bytes than its name says"


def _report(findings: Findings, use: BlobUse, problem: str) -> None:
    assert use.file is not None
    name = f"{use.sha256[:2]}/{use.sha256[2:]}"
    of = f"file {use.file.path!r} of run {use.file.run_id!r}"
    findings.add(FindingKind.BLOB, BLOBS_FOLDER, f"{name} {problem} ({of})")
