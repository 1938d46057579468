"""Download the manifests of artifact versions, and check them.

Rules
- Their addresses are signed and expire: they are requested just before the downloads, and once more
  if one is refused. The API key is never sent to them.
- A manifest has the digest that the version names, or it is not used; it is downloaded once more.
  One whose digest cannot be computed here is not downloaded at all.
- Any other failure is final: the session has tried again what may pass (pacing.py).
- Nothing of a manifest is kept but what a record holds: no local path of the uploader.
- Of a manifest some entries at a time are in memory. What a record holds of them is written to a
  file, in which the manifests of one page are one after another.
- Threads that outlive the listing request nothing any more, and leave no file behind.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, Any

from dr_wandb.core.contract.dataset import ADDRESSES_PER_REQUEST
from dr_wandb.core.contract.large_member import encode_content
from dr_wandb.core.contract.manifest_entries import (
    XXH128,
    ArtifactEntry,
    ManifestDigest,
    NotInPiecesError,
    entries_in_pieces,
    entries_of,
)
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.background import result_of
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.file_bytes import ExpiredError, FileBytes
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.queries import manifests_document
from dr_wandb.shell.store.divided_lines import PIECE, FileRange
from dr_wandb.shell.store.hashes import find_hashes

Version = Mapping[str, Any]
"""A version as its GraphQL node."""


class UnusableManifestError(SourceError):
    """What was downloaded is not the manifest of the version."""


class Manifests:
    """Reads manifests of versions. private: a folder for files that are deleted at the end."""

    def __init__(self, queries: JointQueries, download: FileBytes, private: Path) -> None:
        self._queries = queries
        self._download = download
        self._private = private
        self._hashes = find_hashes()

    def start(
        self, versions: Sequence[Version], threads: Executor, files: ExitStack
    ) -> "PageOfManifests":
        """Start to read the manifest of each version on some threads. files: closes its file."""
        with ExitStack() as own:
            file = None
            if versions:
                file = own.enter_context(TemporaryFile(dir=self._private))
            page = PageOfManifests(self, versions, threads, file)
            files.push(own.pop_all())
        return page

    def addresses(self, ids: Sequence[str]) -> dict[str, str]:
        """Ask W&B for the addresses of manifests, by artifact id. Raises SourceError."""
        answers = self._queries.ask(
            "a", lambda count, _: manifests_document(count), [{"id": one} for one in ids]
        )
        found = {}
        for artifact_id, answer in zip(ids, answers, strict=True):
            file = ((answer or {}).get("currentManifest") or {}).get("file") or {}
            if file.get("directUrl"):
                found[artifact_id] = str(file["directUrl"])
        return found

    def read(self, address: str, take: Callable[[IO[bytes]], FileRange]) -> FileRange:
        """Download a manifest, and give it to a function that takes what is kept of it."""
        with self._download.fetch(address, "", self._save) as stream:
            return take(stream)

    def _save(self, chunks: Iterator[bytes]) -> IO[bytes]:
        """Write what comes to a file, which is on disk only if it is large."""
        with ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(
                SpooledTemporaryFile(PIECE, dir=str(self._private))
            )
            for chunk in chunks:
                file.write(chunk)
            file.seek(0)
            stack.pop_all()
            return file

    def digest_for(self, version: Version) -> ManifestDigest:
        """Return a new digest of the algorithm that a version names."""
        algorithm = str(version.get("digestAlgorithm") or "MD5").removeprefix("MANIFEST_")
        return ManifestDigest(algorithm, self._hashes.get(XXH128))


class PageOfManifests:
    """The manifests of some versions, while they are read. Used as a context manager."""

    def __init__(
        self,
        manifests: Manifests,
        versions: Sequence[Version],
        threads: Executor,
        file: IO[bytes] | None,
    ) -> None:
        self._manifests = manifests
        self._threads = threads
        self._by_id = {str(one["id"]): one for one in versions}
        self._lock = threading.Lock()
        self._file = file
        ids = list(self._by_id)
        most = ADDRESSES_PER_REQUEST
        chunks = [ids[at : at + most] for at in range(0, len(ids), most)]
        self._asked = [(chunk, threads.submit(self._ask, chunk)) for chunk in chunks]

    def _ask(self, ids: Sequence[str]) -> list[Future[FileRange]]:
        """Ask for some addresses, and start the downloads."""
        addresses = self._manifests.addresses(ids)
        return [self._threads.submit(self._read, one, addresses.get(one)) for one in ids]

    def _read(self, artifact_id: str, address: str | None) -> FileRange:
        """Read a manifest, once more from a new address if that may help."""
        version = self._by_id[artifact_id]
        if address is None:
            reason = "W&B gives no manifest of this version"
            raise SourceError(reason, RunFailureKind.NOT_FOUND)
        if self._manifests.digest_for(version).hexdigest() is None:
            reason = "its manifest cannot be checked: the package xxhash is not installed"
            raise SourceError(reason, RunFailureKind.UNREADABLE)
        take = partial(self._take, version)
        try:
            return self._manifests.read(address, take)
        except (ExpiredError, UnusableManifestError):
            if self._is_over:
                raise
            again = self._manifests.addresses([artifact_id]).get(artifact_id)
            return self._manifests.read(again or address, take)

    @property
    def _is_over(self) -> bool:
        """Say whether nobody waits for the manifests any more."""
        return self._file is None or self._file.closed

    def result(self) -> tuple[dict[str, FileRange], dict[str, RunFailure]]:
        """Wait for all. Returns their entries by artifact id, and why others could not be read."""
        found: dict[str, FileRange] = {}
        unread: dict[str, RunFailure] = {}
        for ids, asked in self._asked:
            try:
                reading = result_of(asked)
            except SourceError as error:
                unread |= dict.fromkeys(ids, error.failure)
                continue
            for artifact_id, future in zip(ids, reading, strict=True):
                try:
                    found[artifact_id] = result_of(future)
                except SourceError as error:
                    unread[artifact_id] = error.failure
        return found, unread

    def _take(self, version: Version, stream: IO[bytes]) -> FileRange:
        """Write the entries of a manifest to the file of the page, and check their digest."""
        digest = self._manifests.digest_for(version)
        try:
            try:
                chunks = iter(partial(stream.read, PIECE), b"")
                written = self._write(entries_in_pieces(chunks), digest)
            except NotInPiecesError:
                stream.seek(0)
                entries = entries_of(decode_json(stream.read(), "the manifest"))
                digest = self._manifests.digest_for(version)
                written = self._write([entries], digest)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = f"its manifest cannot be read: {error}"
            raise UnusableManifestError(reason, RunFailureKind.UNREADABLE) from error
        if digest.hexdigest() != version.get("digest"):
            reason = "its manifest does not have the digest that W&B names"
            raise UnusableManifestError(reason, RunFailureKind.UNUSABLE_ANSWER)
        return written

    def _write(
        self, pieces: Iterable[Sequence[ArtifactEntry]], digest: ManifestDigest
    ) -> FileRange:
        """Append entries to the file of the page; no other thread can do so meanwhile."""
        assert self._file is not None
        with self._lock:
            begin = end = self._append(b"")
            for entries in filter(None, pieces):
                digest.update(entries)
                text = encode_content(entries)
                end = self._append(text if end == begin else b"," + text)
        return FileRange(self._file, begin, end - begin)

    def _append(self, text: bytes) -> int:
        """Append to the file of the page, and return its new length."""
        assert self._file is not None
        try:
            return self._file.seek(0, 2) + self._file.write(text)
        except ValueError as error:  # the file is closed
            raise SourceError("the listing has ended", RunFailureKind.INTERRUPTED) from error

    def __enter__(self) -> "PageOfManifests":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
