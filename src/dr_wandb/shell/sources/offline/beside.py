"""The files that W&B's client wrote beside a `.wandb` file."""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.values import clean_text, decode_json
from dr_wandb.core.contract.wording import printable
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources.offline.found import FoundRun
from dr_wandb.shell.sources.offline.run_files import read_beside

SUMMARY_FILE = "wandb-summary.json"

MOST_BYTES = 1 << 26

SUMMARY_UNREAD = "%s cannot be read (%s): the summary is computed from the rows"


def summary_beside(run: FoundRun) -> Mapping[str, Any] | None:
    """Return the summary beside the last file of a run, None if it is not needed or missing."""
    if not run.fold.has_no_summary:
        return None
    path = run.files[-1].file.metadata_path.with_name(SUMMARY_FILE)
    try:
        summary = decode_json(read_beside(path, MOST_BYTES), "it")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a process that was killed may leave half of it
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        LOGGER.warning(SUMMARY_UNREAD, printable(clean_text(str(path))), why)
        return None
    if not isinstance(summary, Mapping):
        LOGGER.warning(SUMMARY_UNREAD, printable(clean_text(str(path))), "it is not an object")
        return None
    return summary
