"""Fetch the bytes of the files that a run lists, and say of each row whether they are held.

Rules
- `FileSettling` says which bytes are to be fetched.
- Received bytes must have the digest of the listing, or its size if it has no digest. If not, the
  file is listed again, as it may have been replaced meanwhile, and fetched again.
- Bytes that are here already are not fetched: an earlier sync noted them (`FetchedBlobs`), or they
  are those of another file (`KnownContents`). A full reconcile does not go by other files.
- No file keeps another one, or its run, from being held: a row says why its bytes are not. Errors
  of this machine, such as a full disk, end the sync.
- There has to be space for all bytes that are to come, before the first of a batch is fetched.
- Files are fetched many at a time, whichever runs they are of; of those with one content, one.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from returns.pipeline import is_successful

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.row_forms import decode_run_file
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.run_files import Absence, described, run_file, with_bytes
from dr_wandb.shell.background import SLICE_SECONDS, DaemonThreads, result_of
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import WORKERS, RawRow, Source, SourceError
from dr_wandb.shell.sources.contents import Contents, FileGoneError, LinkOutsideError, contents_of
from dr_wandb.shell.store.blobs import BlobStore, NewBlob
from dr_wandb.shell.store.fetched_blobs import FetchedBlobs
from dr_wandb.shell.store.known_contents import Content, KnownContents, content_of
from dr_wandb.shell.sync.fetch_job import FetchJob
from dr_wandb.shell.sync.file_settling import FileSettling
from dr_wandb.shell.sync.segments import Segment
from dr_wandb.shell.sync.space_to_come import Share, SpaceToCome

LISTINGS = 3
"""A file is fetched at most this many times before it is a mismatch."""

NOT_FETCHED = "file %r of run %r was not fetched: %s"


class MismatchError(SourceError):
    """Received bytes are not those that are listed, again and again."""

    def __init__(self) -> None:
        reason = "its bytes do not have the size and the digest that are listed"
        super().__init__(reason, RunFailureKind.UNUSABLE_ANSWER)


class FileContents:
    """Brings the bytes of files into the blobs of an export, for the runs of one sync.

    source: what gives them, None if the source has none. staging: for notes and received bytes.
    prove: held blobs are read and hashed before they are used. go_by_others: whether the bytes of
    another file are used, if they are the same. scratch: for an index, by default `staging`.
    note: called with the number of bytes that came.
    """

    def __init__(
        self,
        source: Contents | None,
        choice: FileChoice,
        folder: Path,
        staging: Path,
        *,
        prove: bool = False,
        go_by_others: bool = True,
        use_earlier: bool = True,
        scratch: Path | None = None,
        note: Callable[[int], None] = lambda received: None,
        threads: int = WORKERS,
    ) -> None:
        self._source = source
        self._note = note
        self.blobs = BlobStore(folder, staging)
        self._settling = FileSettling(choice, self.blobs, has_bytes=source is not None, prove=prove)
        self._fetched = FetchedBlobs(staging, self.blobs, use_earlier=use_earlier)
        self._known = (
            KnownContents(folder, scratch or staging, self.blobs) if go_by_others else None
        )
        self._threads = DaemonThreads(threads)
        self._stopped = threading.Event()
        self._space = SpaceToCome(folder)
        self._under_way: set[Content] = set()
        self._changed = threading.Condition()

    def close(self) -> None:
        """Let fetches under way end with their next bytes, and start no more."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._fetched.close()
        if self._known is not None:
            self._known.close()

    def fill(
        self, run: RunListing, raw_rows: Sequence[RawRow], held: Mapping[str, RunFile]
    ) -> list[dict[str, Any]]:
        """Return the rows of listed files with what is held of each."""
        listed = [run_file(raw_row, run.run_id) for raw_row in raw_rows]
        settled = [self._settling.settle(row, held.get(row.path)) for row in listed]
        wanted = [
            (raw_row, row)
            for raw_row, row, done in zip(raw_rows, listed, settled, strict=True)
            if done is None
        ]
        shares = self._take_shares([row for _, row in wanted])
        try:
            work = [
                self._threads.submit(self._fetch, run, raw_row, row, held.get(row.path), share)
                for (raw_row, row), share in zip(wanted, shares, strict=True)
            ]
            fetched = iter([result_of(future) for future in work])
        finally:
            for share in shares:
                share.close()
        return [described(next(fetched) if row is None else row) for row in settled]

    def to_fetch(
        self, run: RunListing, raw_rows: Sequence[RawRow], held: Mapping[str, RunFile]
    ) -> list[RunFile]:
        """Return the rows of listed files whose bytes `fill` would fetch."""
        listed = (run_file(raw_row, run.run_id) for raw_row in raw_rows)
        rows = [row for row in listed if self._settling.settle(row, held.get(row.path)) is None]
        self._expect(rows)
        return [row for row in rows if not self._is_here(row, self._content_of(row))]

    def forget(self, run: RunListing) -> None:
        """Free the memory for a run that has been read."""
        self._fetched.forget(run.run_id)

    def _take_shares(self, rows: Sequence[RunFile]) -> list[Share]:
        """Take the space for the bytes of some files that are to come."""
        self._expect(rows)
        contents = [self._content_of(row) for row in rows]
        to_come = [
            (0 if self._is_here(row, content) else row.size or 0, content)
            for row, content in zip(rows, contents, strict=True)
        ]
        return self._space.share(to_come)

    def _expect(self, rows: Iterable[RunFile]) -> None:
        """Announce files whose bytes may be those of other files."""
        if self._known is not None:
            contents = map(self._content_of, rows)
            self._known.expect(sum(one.size for one in contents if one is not None))

    def _content_of(self, row: RunFile) -> Content | None:
        """Return by what another file is found that has the same bytes, None if none is used."""
        return None if self._known is None else content_of(row)

    def _is_here(self, row: RunFile, content: Content | None) -> bool:
        """Say whether the bytes of a file seem to be here already."""
        return self._fetched.has(row) or (self._known is not None and self._known.has(content))

    def _fetch(
        self, run: RunListing, raw_row: RawRow, row: RunFile, held: RunFile | None, share: Share
    ) -> RunFile:
        """Fetch the bytes of one file, and return its row."""
        content = self._content_of(row)
        try:
            with self._one_at_a_time(content):
                return self._find_here(row, content) or self._fetch_one(
                    run, raw_row, row, held, share
                )
        finally:
            share.close()

    @contextmanager
    def _one_at_a_time(self, content: Content | None) -> Iterator[None]:
        """Wait while another thread fetches the same bytes."""
        if content is None:
            yield
            return
        with self._changed:
            while content in self._under_way:
                self._changed.wait(SLICE_SECONDS)
            self._under_way.add(content)
        try:
            yield
        finally:
            with self._changed:
                self._under_way.discard(content)
                self._changed.notify_all()

    def _find_here(self, row: RunFile, content: Content | None) -> RunFile | None:
        """Return the row of a file whose bytes are here already, None if they are not."""
        noted = self._fetched.find(row)
        if noted is not None:
            self._note_content(noted)
            return with_bytes(row, noted.sha256 or "", noted.size or 0, noted.md5)
        sha256 = None if self._known is None else self._known.find(content)
        if content is None or sha256 is None:
            return None
        return with_bytes(row, sha256, content.size, content.md5)

    def _note_content(self, row: RunFile) -> None:
        """Note the blob of a file for others with the same bytes. Its digests were computed."""
        content = self._content_of(row)
        if self._known is not None and content is not None:
            self._known.note(content, row.sha256 or "")

    def _fetch_one(
        self, run: RunListing, raw_row: RawRow, row: RunFile, held: RunFile | None, share: Share
    ) -> RunFile:
        try:
            assert self._source is not None
            return self._fetch_listed(self._source, run, str(raw_row.get("name")), row, share)
        except FileGoneError as error:
            absence, reason = Absence.GONE, str(error)
        except LinkOutsideError as error:
            absence, reason = Absence.LINK_OUTSIDE, str(error)
        except MismatchError as error:
            absence, reason = Absence.MISMATCH, str(error)
        except SourceError as error:
            if error.failure.kind == RunFailureKind.INTERRUPTED:
                raise
            absence, reason = Absence.FAILED, str(error)
        except (DrWandbError, OSError, MemoryError):
            raise
        except Exception as error:  # an unexpected error of a source fails this file only
            LOGGER.debug("file %r of run %r", row.path, run.run_id, exc_info=True)
            absence, reason = Absence.FAILED, f"{type(error).__name__}: {error}"
        LOGGER.info(NOT_FETCHED, row.path, run.run_id, reason)
        return self._settling.without_bytes(row, held, absence)

    def _fetch_listed(
        self, source: Contents, run: RunListing, name: str, row: RunFile, share: Share
    ) -> RunFile:
        """Fetch a file, and list it again if its bytes are not those that are listed."""
        for _ in range(LISTINGS):
            blob = source.fetch(run, name, lambda chunks: self._receive(chunks, share))
            with self._unless_kept(blob):
                if not _fits(row, blob):
                    raw_row = source.find(run, name)
                    if raw_row is None:
                        raise FileGoneError("it is no longer listed")
                    row = run_file(raw_row, run.run_id)
                if _fits(row, blob):
                    self.blobs.keep(blob)
                    row = with_bytes(row, blob.sha256, blob.size, blob.md5)
                    self._fetched.note(row)
                    self._note_content(row)
                    return row
        raise MismatchError

    def _receive(self, chunks: Iterator[bytes], share: Share) -> NewBlob:
        return self.blobs.receive(self._counted(chunks, share))

    def _counted(self, chunks: Iterator[bytes], share: Share) -> Iterator[bytes]:
        for chunk in chunks:
            if self._stopped.is_set():
                reason = "the sync has ended"
                raise SourceError(reason, RunFailureKind.INTERRUPTED, retryable=False)
            self._note(len(chunk))
            yield chunk
            share.lower(len(chunk))

    @contextmanager
    def _unless_kept(self, blob: NewBlob) -> Iterator[None]:
        """Remove received bytes that did not get their name."""
        try:
            yield
        finally:
            self.blobs.discard(blob)

    def proves(self, segment: Segment) -> bool:
        """Read all blobs that the rows of an interrupted sync name; say whether all are right."""
        with closing(segment.lines()) as lines:
            rows = (decode_run_file(line).unwrap() for line in lines)
            return all(row.sha256 is None or self.blobs.proves(row.sha256) for row in rows)


def contents_for(
    jobs: Iterable[FetchJob],
    source: Source,
    request: ExportRequest,
    staging: Path,
    *,
    use_earlier: bool,
    threads: int,
    note: Callable[[int], None],
) -> FileContents | None:
    """Return what fetches the bytes of files for some jobs, None if none of them lists any.

    staging: the staging folder of an export. use_earlier: as `FetchedBlobs` takes it. threads: how
    many files are fetched at once. note: takes the number of bytes that came.
    """
    thorough = request.sync_mode == SyncMode.FULL_RECONCILE
    asked = {dataset for job in jobs for dataset in job.plan.fetches}
    wanted = [request.contents_of(one) for one in asked if DATASETS[one].has_content]
    if not wanted:
        return None
    return FileContents(
        contents_of(source),
        wanted[0],
        staging.parent,
        staging,
        prove=thorough,
        go_by_others=not thorough,
        use_earlier=use_earlier,
        threads=threads,
        note=note,
    )


def held_files(lines: Iterable[bytes]) -> dict[str, RunFile]:
    """Return the stored rows of a run whose bytes are held, by path."""
    rows = filter(is_successful, map(decode_run_file, lines))
    return {row.path: row for row in (one.unwrap() for one in rows) if row.sha256 is not None}


def _fits(row: RunFile, blob: NewBlob) -> bool:
    """Say whether received bytes are those that are listed: by the digest, else by the size."""
    if row.md5 is not None:
        return row.md5 == blob.md5
    return row.size in (None, blob.size)
