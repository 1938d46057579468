"""Download the manifests of artifact versions, and check them.

Rules
- Their addresses are signed and expire: they are requested just before the downloads, and once more
  if a download is refused.
- A manifest has the digest that the version names, or it is not used; it is downloaded once more.
- Nothing of a manifest is kept but what a record holds: no local path of the uploader.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dr_wandb.core.contract.artifacts import (
    Hashed,
    entries_of,
    manifest_digest,
    without_local_paths,
)
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.downloads import Downloads
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.queries import manifests_document

AT_ONCE = 10
"""wandb-core takes this many requests at a time (wandb 0.31.0)."""

FEWEST, MOST = 5, 50
"""How many addresses are requested together: more would expire, fewer cost more requests."""

MANIFEST_FILE = "wandb_manifest.json"

Read = tuple[dict[str, Mapping[str, Any]], dict[str, RunFailure]]
"""Manifests by artifact id, and why the others could not be read."""


def _find_xxh128() -> Callable[[], Hashed] | None:
    """Return the hash that newer SDKs use, None with one that does not bring it."""
    with suppress(ImportError):
        from xxhash import xxh128

        return lambda: xxh128()
    return None


class Manifests:
    """Reads manifests of versions, given as their GraphQL nodes."""

    def __init__(self, queries: JointQueries, downloads: Downloads) -> None:
        self._queries = queries
        self._downloads = downloads
        self._xxh128 = _find_xxh128()

    def read(self, versions: Sequence[Mapping[str, Any]]) -> Read:
        """Read the manifest of each version, several at once."""
        found: dict[str, Mapping[str, Any]] = {}
        unread: dict[str, RunFailure] = {}
        by_id = {str(one["id"]): one for one in versions}
        ids = list(by_id)
        size = min(MOST, max(FEWEST, -(-len(ids) // AT_ONCE)))
        chunks = [tuple(ids[at : at + size]) for at in range(0, len(ids), size)]

        def read_some(chunk: tuple[str, ...]) -> Read:
            return self._read_some([by_id[one] for one in chunk])

        for _, (some, failed) in in_lanes([(chunks, AT_ONCE)], read_some):
            found |= some
            unread |= failed
        return found, unread

    def _read_some(self, versions: Sequence[Mapping[str, Any]]) -> Read:
        found: dict[str, Mapping[str, Any]] = {}
        unread: dict[str, RunFailure] = {}
        try:
            addresses = self._addresses([str(one["id"]) for one in versions])
        except SourceError as error:
            return {}, {str(one["id"]): error.failure for one in versions}
        for version in versions:
            artifact_id = str(version["id"])
            try:
                found[artifact_id] = self._read_one(version, addresses.get(artifact_id))
            except SourceError as error:
                unread[artifact_id] = error.failure
        return found, unread

    def _addresses(self, ids: Sequence[str]) -> dict[str, str]:
        answers = self._queries.ask(
            "a", lambda count, _: manifests_document(count), [{"id": one} for one in ids]
        )
        found = {}
        for artifact_id, answer in zip(ids, answers, strict=True):
            file = ((answer or {}).get("currentManifest") or {}).get("file") or {}
            if file.get("directUrl"):
                found[artifact_id] = str(file["directUrl"])
        return found

    def _read_one(self, version: Mapping[str, Any], address: str | None) -> dict[str, Any]:
        if address is None:
            reason = "W&B gives no manifest of this version"
            raise SourceError(reason, RunFailureKind.NOT_FOUND)
        try:
            return self._download(version, address)
        except SourceError:
            again = self._addresses([str(version["id"])]).get(str(version["id"]))
            return self._download(version, again or address)

    def _download(self, version: Mapping[str, Any], address: str) -> dict[str, Any]:
        content = self._downloads.file({"name": MANIFEST_FILE, "url": address, "sizeBytes": 0})
        try:
            manifest = without_local_paths(decode_json(content, "the manifest"))
            digest = manifest_digest(entries_of(manifest), _algorithm(version), xxh128=self._xxh128)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = f"its manifest cannot be read: {error}"
            raise SourceError(reason, RunFailureKind.UNREADABLE) from error
        if digest is None:
            reason = "its manifest cannot be checked: the package xxhash is not installed"
            raise SourceError(reason, RunFailureKind.UNREADABLE, retryable=False)
        if digest != version.get("digest"):
            reason = "its manifest does not have the digest that W&B names"
            raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)
        return manifest


def _algorithm(version: Mapping[str, Any]) -> str:
    return str(version.get("digestAlgorithm") or "MD5").removeprefix("MANIFEST_")
