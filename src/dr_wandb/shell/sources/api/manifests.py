"""Download the manifests of artifact versions, and check them.

Rules
- Their addresses are signed and expire: they are requested just before the downloads, and once more
  if a download is refused.
- A manifest has the digest that the version names, or it is not used; it is downloaded once more.
- Nothing of a manifest is kept but what a record holds: no local path of the uploader.
- Of a manifest some entries at a time are in memory. What a record holds of them is written to a
  file, in which the manifests of one page are one after another.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from dr_wandb.core.contract.dataset import ADDRESSES_PER_REQUEST
from dr_wandb.core.contract.large_member import encode_content
from dr_wandb.core.contract.manifest_entries import (
    ArtifactEntry,
    Hashed,
    ManifestDigest,
    NotInPiecesError,
    entries_in_pieces,
    entries_of,
)
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.background import result_of
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.downloads import Downloads
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.queries import manifests_document
from dr_wandb.shell.store.divided_lines import PIECE, FileRange

MANIFEST_FILE = "wandb_manifest.json"

Version = Mapping[str, Any]
"""A version as its GraphQL node."""


def _find_xxh128() -> Callable[[], Hashed] | None:
    """Return the hash that newer SDKs use, None with one that does not bring it."""
    with suppress(ImportError):
        from xxhash import xxh128

        return lambda: xxh128()
    return None


class Manifests:
    """Reads manifests of versions."""

    def __init__(self, queries: JointQueries, downloads: Downloads) -> None:
        self._queries = queries
        self._downloads = downloads
        self._xxh128 = _find_xxh128()

    def start(
        self, versions: Sequence[Version], threads: Executor, files: ExitStack
    ) -> "PageOfManifests":
        """Start to read the manifest of each version on some threads. files: closes its file."""
        file = None
        if versions:
            file = TemporaryFile(dir=self._downloads.private)  # noqa: SIM115 - `files` closes it
            files.callback(file.close)
        return PageOfManifests(self, versions, threads, file)

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

    def read(
        self, version: Version, address: str | None, take: Callable[[Path], FileRange]
    ) -> FileRange:
        """Download a manifest, and give it to a function that takes what is kept of it.

        take: may raise SourceError; then it is given the manifest once more.
        """
        if address is None:
            reason = "W&B gives no manifest of this version"
            raise SourceError(reason, RunFailureKind.NOT_FOUND)
        try:
            return self._download(address, take)
        except SourceError:
            again = self.addresses([str(version["id"])]).get(str(version["id"]))
            return self._download(again or address, take)

    def _download(self, address: str, take: Callable[[Path], FileRange]) -> FileRange:
        node = {"name": MANIFEST_FILE, "url": address, "sizeBytes": 0}
        with self._downloads.saved(node) as path:
            return take(path)

    def digest_for(self, version: Version) -> ManifestDigest:
        """Return a new digest of the algorithm that a version names."""
        algorithm = str(version.get("digestAlgorithm") or "MD5").removeprefix("MANIFEST_")
        return ManifestDigest(algorithm, self._xxh128)


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
        version = self._by_id[artifact_id]
        return self._manifests.read(version, address, partial(self._take, version))

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

    def _take(self, version: Version, path: Path) -> FileRange:
        """Write the entries of a manifest to the file of the page, and check their digest."""
        digest = self._manifests.digest_for(version)
        try:
            try:
                with path.open("rb") as stream:
                    chunks = iter(partial(stream.read, PIECE), b"")
                    written = self._write(entries_in_pieces(chunks), digest)
            except NotInPiecesError:
                entries = entries_of(decode_json(path.read_bytes(), "the manifest"))
                digest = self._manifests.digest_for(version)
                written = self._write([entries], digest)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = f"its manifest cannot be read: {error}"
            raise SourceError(reason, RunFailureKind.UNREADABLE) from error
        computed = digest.hexdigest()
        if computed is None:
            reason = "its manifest cannot be checked: the package xxhash is not installed"
            raise SourceError(reason, RunFailureKind.UNREADABLE, retryable=False)
        if computed != version.get("digest"):
            reason = "its manifest does not have the digest that W&B names"
            raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)
        return written

    def _write(
        self, pieces: Iterable[Sequence[ArtifactEntry]], digest: ManifestDigest
    ) -> FileRange:
        """Append entries to the file of the page; no other thread can do so meanwhile."""
        assert self._file is not None
        with self._lock:
            begin = end = self._file.seek(0, 2)
            for entries in filter(None, pieces):
                digest.update(entries)
                text = encode_content(entries)
                end += self._file.write(text if end == begin else b"," + text)
        return FileRange(self._file, begin, end - begin)

    def __enter__(self) -> "PageOfManifests":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
