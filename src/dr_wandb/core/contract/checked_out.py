"""The result of a checkout of files, and its description for people."""

from collections.abc import Iterator

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.wording import count, size_in_words

MOST_NAMED = 10


class IndexEntry(Record, frozen=True, kw_only=True):
    """A line of `INDEX.jsonl`: a file of a checkout, and which file of which run it is.

    `file` is a path relative to the index.
    """

    file: str
    run_id: str
    path: str
    sha256: str
    size: int


class CheckedOut(Record, frozen=True, kw_only=True):
    """What a checkout did. `files` were written, `bytes` of them; `same` were there already.

    `absent` files have no bytes in the export. `in_the_way`: files and folders of other people,
    changed or unreadable ones, that were not replaced. `damaged`: files whose bytes in the export
    are not right.
    """

    folder: str
    files: int = 0
    bytes: int = 0
    same: int = 0
    absent: int = 0
    in_the_way: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Say whether every file with bytes is there."""
        return not (self.in_the_way or self.damaged)


def describe_checkout(done: CheckedOut) -> Iterator[str]:
    """Describe a checkout in lines of text."""
    yield (
        f"{count(done.files, 'file')} written to {done.folder}, {size_in_words(done.bytes)}; "
        f"{done.same:,} there already; INDEX.jsonl names them"
    )
    if done.absent:
        yield f"{count(done.absent, 'file')} not held: `absent` in files.jsonl says why"
    for what, names in (
        ("not replaced, as it is not ours, was changed or cannot be read", done.in_the_way),
        ("damaged in the export: run `wandb-export verify`", done.damaged),
    ):
        yield from (f"{name}: {what}" for name in names[:MOST_NAMED])
        if len(names) > MOST_NAMED:
            yield f"and {len(names) - MOST_NAMED:,} more: {what}"
