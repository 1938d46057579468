"""Hashes of other packages that W&B makes digests with.

`xxhash` comes with the SDK (wandb 0.31.0 requires it; earlier ones may not).
"""

from contextlib import suppress
from functools import cache

from dr_wandb.core.contract.manifest_entries import XXH128
from dr_wandb.core.contract.project_record import Hashes


@cache
def find_hashes() -> Hashes:
    """Return the hashes that are installed here."""
    with suppress(ImportError):
        from xxhash import xxh128

        return {XXH128: lambda: xxh128()}
    return {}
