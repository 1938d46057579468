"""Look into a folder of offline runs without exporting them."""

import time
from datetime import datetime
from pathlib import Path

from dr_wandb.core.offline.scan_report import FolderContent
from dr_wandb.shell.sources.offline.runs import look_into


def scan_folder(folder: Path | str, now: datetime | None = None) -> FolderContent:
    """List the runs in a `wandb` folder, as `offline:DIR` exports them, and unreadable files.

    folder: of a training script, of one run, or a tree with many of them. now: with a zone, the
    present by default; a run without an end is `running` only if it was written to lately. Raises
    InvalidRequestError if there is no such folder.
    """
    now_ns = time.time_ns() if now is None else int(now.timestamp() * 1e9)
    return look_into(Path(folder), now_ns)
