"""What the disk refuses, as a failure that says where."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError


@contextmanager
def disk_refusals(path: Path, *, exactly: bool = False) -> Iterator[None]:
    """Turn an OSError into DrWandbError that names a path.

    exactly: name the path that the error speaks of, where it speaks of one.
    """
    try:
        yield
    except DrWandbError:
        raise  # some of them are an OSError as well
    except OSError as error:
        named = str((exactly and error.filename) or path)
        reason = error.strerror or str(error)
        raise DrWandbError(DiskRefused(path=named, reason=reason)) from error
