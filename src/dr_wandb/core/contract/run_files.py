"""Files of a run, as the catalogue of an export names them.

Rules
- Every file that W&B lists has a row, whatever its name is; only names are stored, never a path to
  write to. A manifest of an artifact of W&B's own is no file of the run: it has no bytes, and it
  comes days after the run has ended (seen in 2026). It is counted and not stored.
- Bytes are held if `sha256` says which; else `absent` says why they are not.
- Held bytes stay until newer ones are held, or until W&B no longer lists the file. Meanwhile the
  row describes the held bytes, and `newer` says why the newer ones are not held.

Everything here is total and pure.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.values import clean_text


class Absence(StrEnum):
    """Why the bytes of a file are not held."""

    TOO_LARGE = "too large"
    NOT_ASKED_FOR = "not asked for"
    NOT_IN_SOURCE = "not in the source"
    LINK_OUTSIDE = "link outside"
    GONE = "gone"
    MISMATCH = "mismatch"
    FAILED = "failed"


TRIED_AGAIN = frozenset({Absence.GONE, Absence.MISMATCH, Absence.FAILED})
"""Reasons that may pass: these files are tried again."""

_OWN_MANIFEST = re.compile(r"artifact/[^/]+/wandb_manifest\.json")


class Treatment(StrEnum):
    """What to do about the bytes of a listed file."""

    HELD = "held"
    FETCH = "fetch"
    LEAVE = "leave"


class Decision(NamedTuple):
    """What to do about the bytes of a file. `absence`: why they are left, if they are."""

    treatment: Treatment
    absence: Absence | None = None


def run_file(raw_row: Mapping[str, Any], run_id: str) -> RunFile:
    """Make a row of a file as a source lists it, or as `described` spells it."""
    return RunFile(
        run_id=run_id,
        path=_text(raw_row.get("name")) or "",
        size=_size(raw_row.get("sizeBytes")),
        md5=_text(raw_row.get("md5")) or None,
        sha256=_text(raw_row.get("sha256")),
        mimetype=_text(raw_row.get("mimetype")) or None,
        updated_at=normalize_time(raw_row.get("updatedAt")),
        absent=_text(raw_row.get("absent")),
        newer=_text(raw_row.get("newer")),
    )


def described(row: RunFile) -> dict[str, Any]:
    """Return a row as a raw one, of which `run_file` makes the same row."""
    return {
        "name": row.path,
        "sizeBytes": row.size,
        "md5": row.md5,
        "sha256": row.sha256,
        "mimetype": row.mimetype,
        "updatedAt": row.updated_at,
        "absent": row.absent,
        "newer": row.newer,
    }


def is_left_out(row: RunFile) -> bool:
    """Say whether a listed file is one of W&B's own manifests without bytes."""
    return not row.size and _OWN_MANIFEST.fullmatch(row.path) is not None


def is_wanting(row: RunFile) -> bool:
    """Say whether bytes were wanted and did not come, so that they are tried again."""
    return (row.absent or row.newer) in TRIED_AGAIN


def same_bytes(row: RunFile, held: RunFile) -> bool:
    """Say whether a file surely has the bytes that are held, by what its listing says.

    Without a digest, its time and its size have to be the same. With one, the size says nothing: it
    may be that of an earlier upload (seen in 2026).
    """
    if row.md5 is not None or row.updated_at is None:
        return row.md5 is not None and row.md5 == held.md5
    return row.size is not None and (row.size, row.updated_at) == (held.size, held.updated_at)


def decide(row: RunFile, held: RunFile | None, choice: FileChoice) -> Decision:
    """Decide about the bytes of a listed file. held: its row in the export, if there is one."""
    if held is not None and held.sha256 is not None and same_bytes(row, held):
        return Decision(Treatment.HELD)
    if not choice.admits(row.path):
        return Decision(Treatment.LEAVE, Absence.NOT_ASKED_FOR)
    if choice.too_large(row.size):
        return Decision(Treatment.LEAVE, Absence.TOO_LARGE)
    return Decision(Treatment.FETCH)


def with_bytes(row: RunFile, sha256: str, size: int, md5: str | None = None) -> RunFile:
    """Return the row of a file whose bytes are held. md5: theirs, if none is listed."""
    return replace(row, sha256=sha256, size=size, md5=row.md5 or md5, absent=None, newer=None)


def without_bytes(row: RunFile, held: RunFile | None, absence: Absence) -> RunFile:
    """Return the row of a file whose bytes are not held: that of older ones if these are."""
    if held is not None and held.sha256 is not None:
        return replace(held, newer=absence)
    return replace(row, sha256=None, absent=absence, newer=None)


def _text(value: Any) -> str | None:
    return None if value is None else clean_text(str(value))


def _size(value: Any) -> int | None:
    """Return a size in bytes, which W&B sends as a number or as its digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:20])
    return value if type(value) is int and 0 <= value < 2**63 else None
