"""Check the rows in a file of a dataset's table: they are turned into lines again."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from dr_wandb.core.columnar.digest import pack_digest
from dr_wandb.core.columnar.table_packs import table_pack
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.inspect.audit import StoredRun
from dr_wandb.core.inspect.audit_rows import StoredPart
from dr_wandb.core.inspect.columns import ColumnsPart
from dr_wandb.shell.store.tables import FORMS, read_table


class TableRows:
    """The rows of one file. say: reports a problem of it.

    `parts` are the rows of each run, at no particular offset; `rows` is how many there are.
    """

    def __init__(self, dataset: str, name: str, say: Callable[[str], None]) -> None:
        self._dataset = dataset
        self._name = name
        self._say = say
        self._digests: list[tuple[str, str]] = []
        self.parts: dict[str, ColumnsPart] = {}
        self.rows = 0

    def read(self, path: Path, runs: Mapping[str, StoredRun]) -> None:
        """Read the file. runs: those in `runs.jsonl`, none if that is damaged."""
        last = None
        for run_id, lines in _by_run(read_table(path, FORMS[self._dataset])):
            if last is not None and run_id <= last:
                self._say(f"has run {run_id!r}, which is not in order")
            if run_id in runs:
                home = table_pack(self._dataset, run_id, runs[run_id].created_at)
                if home != self._name:
                    self._say(f"has run {run_id!r}, which belongs into {Path(home).name}")
            last = run_id
            self._digests.append((run_id, lines.digest))
            self.rows += lines.rows
            part = StoredPart(line=1, byte_range=lines, received=Received())
            self.parts[run_id] = ColumnsPart(file=self._name, part=part, cells="")

    @property
    def contents(self) -> str:
        """Return the digest of the contents, as the manifest has it."""
        return pack_digest(self._digests)


def _by_run(pieces: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, ByteRange]]:
    """Give the lines of each run, one after another, as a byte range."""
    for run_id, some in groupby(pieces, key=itemgetter(0)):
        hashed, length, rows = hashlib.blake2b(digest_size=16), 0, 0
        for _, lines in some:
            hashed.update(lines)
            length += len(lines)
            rows += lines.count(b"\n")
        yield run_id, ByteRange(offset=0, length=length, rows=rows, digest=hashed.hexdigest())
