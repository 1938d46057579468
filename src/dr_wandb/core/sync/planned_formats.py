"""What a sync will do with the formats of an export, for its plan.

A format that is new is made of the held rows and of those that come. Nothing is asked for it.
"""

from enum import StrEnum

from dr_wandb.core.contract.export_files import HISTORY_FILE, JSONL, is_parquet
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.sync.formats import formats_after, formats_before


class FormatAction(StrEnum):
    """What happens to a format of the history."""

    MAKE = "make"
    DROP = "drop"


class PlannedFormat(Record, frozen=True, kw_only=True):
    """A format that a sync makes or drops, and what that concerns.

    `rows`: how many rows are held before. `bytes`: of the files that go, 0 for a format that is
    made.
    """

    format: str
    action: FormatAction
    rows: int = 0
    bytes: int = 0


def planned_formats(
    request: ExportRequest, manifest: ExportManifest | None
) -> tuple[PlannedFormat, ...]:
    """Return the formats that a sync makes or drops, those that it makes first.

    manifest: that of the export before. The one format of a new history is not among them unless it
    is asked for by name.
    """
    before, after = formats_before(manifest), formats_after(request, manifest)
    made = after - before if before else after & {*request.formats}
    rows = 0 if manifest is None else manifest.history_count
    return (
        *(PlannedFormat(format=name, action=FormatAction.MAKE, rows=rows) for name in sorted(made)),
        *(
            PlannedFormat(
                format=name,
                action=FormatAction.DROP,
                rows=rows,
                bytes=_bytes_of(name, manifest),
            )
            for name in sorted(before - after)
        ),
    )


def _bytes_of(name: str, manifest: ExportManifest | None) -> int:
    """Return how many bytes the files of a format have."""
    files = {} if manifest is None else manifest.files
    ours = [one for one in files if (one == HISTORY_FILE if name == JSONL else is_parquet(one))]
    return sum(files[one].bytes for one in ours)
