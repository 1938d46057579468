"""Artifact versions as records: one line for each version in each collection.

Rules
- A version is known by its collection and its artifact id. A link in another collection is a line
  of its own, with the collection that it came from.
- A version that is pending or deleted is kept as it is; it may have no number.
- `entries` are those of its manifest, None as long as that was not read. A reference is recorded
  and never followed. The path at which an uploader had a file is not stored.
- `created_by` and `used_by` are the runs that logged and used it. A version of another project
  that a run used is a line too: `project` says in which one it is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.manifest_entries import (
    XXH128,
    ArtifactEntry,
    ManifestDigest,
    entries_of,
)
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.project_record import (
    NO_HASHES,
    Hashes,
    LinkedRecord,
    SortKey,
    count_of,
    required_text,
    text_of,
)
from dr_wandb.core.contract.values import decode_json, json_safe

COMMITTED, PENDING = "COMMITTED", "PENDING"

ENTRY_BYTES = 160
"""About how many bytes an entry takes in a line; a path may be of any length."""

_IS_VERSION = re.compile(r"v[0-9]+")
"""The alias that is a number. The SDK takes it for none, and lets nobody choose one (0.31.0)."""

_INTERNAL = frozenset({"run_table", "job", "code"})


class WandbArtifact(LinkedRecord, frozen=True, kw_only=True):
    """One version of an artifact in one collection.

    `project` is ENTITY/PROJECT if the collection is in another project. `source_collection` is the
    collection that a link came from, None if it is no link. `internal`: W&B made it for itself.
    `history_step` is as W&B has it. `metadata` is an object, or a text that is none.
    """

    known_by = ("collection", "artifact_id")
    large = "entries"
    large_kind = ArtifactEntry

    collection: str
    artifact_id: str
    project: str | None = None
    type: str | None = None
    version: int | None = None
    state: str | None = None
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: dict[str, Any] | str | None = None
    size: int | None = None
    digest: str | None = None
    digest_algorithm: str | None = None
    ttl_seconds: int | None = None
    ttl_inherited: bool | None = None
    history_step: int | None = None
    commit_hash: str | None = None
    file_count: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    source_collection: str | None = None
    internal: bool = False
    entries: tuple[ArtifactEntry, ...] | None = None

    @property
    def sort_key(self) -> SortKey:
        """Return the key of its line: by collection, then by version as a number."""
        number = self.version
        return (self.collection, number is None, number or 0, self.artifact_id)

    def lasts(self, content: Iterable[Sequence[Any]], hashes: Hashes = NO_HASHES) -> bool:
        """Say whether it has the entries of its manifest: those in `content`."""
        return self.entries is not None and has_its_digest(self, content, hashes)

    @property
    def has_content(self) -> bool:
        """Say whether it has the entries of its manifest, right or not."""
        return self.entries is not None

    @property
    def content_bytes(self) -> int | None:
        """Return about how many bytes the entries of a committed version take."""
        if self.state != COMMITTED or not self.of_project:
            return None
        return ENTRY_BYTES * (self.file_count or 0)

    def with_content_of(self, held: LinkedRecord) -> "WandbArtifact":
        """Return the version with the entries of a held one that has the same digest."""
        if isinstance(held, WandbArtifact) and held.digest == self.digest:
            return replace(self, entries=held.entries)
        return self

    @property
    def of_project(self) -> bool:
        """Say whether its collection is in this project."""
        return self.project is None

    @property
    def source_id(self) -> str:
        """Return the id of the version, which its links share."""
        return self.artifact_id

    @property
    def content_id(self) -> str:
        """Return the text by which its manifest is known."""
        return manifest_id(self.artifact_id, self.digest)

    @property
    def as_listed(self) -> "WandbArtifact":
        """Return the version without its entries and its links to runs."""
        return replace(self, entries=None, created_by=(), used_by=())

    @property
    def group(self) -> str:
        """Return the collection if it is listed with the project, else ""."""
        return self.collection if self.project is None else ""


def normalize_artifact(node: Mapping[str, Any]) -> WandbArtifact:
    """Make a version from its node in a collection: `collection`, `version` and `artifact`.

    collection: `name`, `type` and, if it is in another project, `project`. artifact: a GraphQL
    node. `manifest`, if it was read: its JSON. Raises ValueError without a collection or an id.
    """
    collection, artifact = node["collection"], node["artifact"]
    name = text_of(collection.get("name")) or ""
    sequence = artifact.get("artifactSequence") or {}
    source = text_of(sequence.get("name"))
    type_name = text_of((artifact.get("artifactType") or collection.get("type") or {}).get("name"))
    manifest = node.get("manifest")
    return WandbArtifact(
        collection=name,
        artifact_id=required_text(artifact, "id"),
        project=text_of(collection.get("project")),
        type=type_name,
        version=_version(node.get("version"), artifact.get("versionIndex"), source in (None, name)),
        state=text_of(artifact.get("state")),
        aliases=tuple(sorted(_aliases(artifact.get("aliases"), name))),
        tags=tuple(sorted({text_of(tag.get("name")) or "" for tag in artifact.get("tags") or ()})),
        description=text_of(artifact.get("description")),
        metadata=_metadata(artifact.get("metadata")),
        size=count_of(artifact.get("size")),
        digest=text_of(artifact.get("digest")),
        digest_algorithm=_algorithm(artifact.get("digestAlgorithm")),
        ttl_seconds=count_of(artifact.get("ttlDurationSeconds")),
        ttl_inherited=_bool(artifact.get("ttlIsInherited")),
        history_step=count_of(artifact.get("historyStep")),
        commit_hash=text_of(artifact.get("commitHash")),
        file_count=count_of(artifact.get("fileCount")),
        created_at=normalize_time(artifact.get("createdAt")),
        updated_at=normalize_time(artifact.get("updatedAt")),
        source_collection=None if source in (None, name) else source,
        internal=is_internal(type_name),
        entries=None if manifest is None else entries_of(manifest),
    )


def manifest_id(artifact_id: Any, digest: Any) -> str:
    """Return the text by which the manifest is known of a version with this digest."""
    return f"{text_of(artifact_id)} {text_of(digest)}"


def is_internal(type_name: str | None) -> bool:
    """Say whether W&B makes artifacts of this type for itself."""
    return type_name is not None and (type_name in _INTERNAL or type_name.startswith("wandb-"))


def _version(in_collection: Any, index: Any, is_source: bool) -> int | None:
    """Return the number in the collection; that of the artifact itself only in its own one."""
    if isinstance(in_collection, str) and in_collection[1:].isdecimal() and in_collection[0] == "v":
        return int(in_collection[1:])
    return count_of(index) if is_source else None


def _aliases(aliases: Any, collection: str) -> Iterable[str]:
    for one in aliases or ():
        of = (one.get("artifactCollection") or {}).get("name")
        alias = text_of(one.get("alias"))
        if of in (None, collection) and alias is not None and not _IS_VERSION.fullmatch(alias):
            yield alias


def _metadata(value: Any) -> dict[str, Any] | str | None:
    """Return metadata as an object; a text that cannot be read stays a text."""
    if value is None or isinstance(value, Mapping):
        return None if value is None else json_safe(value)
    text = str(value)
    try:
        decoded = json_safe(decode_json(text, "metadata"))
    except (ValueError, RecursionError):
        return text_of(text)
    return decoded if isinstance(decoded, dict) else text_of(text)


def _algorithm(value: Any) -> str | None:
    text = text_of(value)
    return None if text is None else text.removeprefix("MANIFEST_")


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def has_its_digest(
    record: WandbArtifact,
    entries: Iterable[Sequence[ArtifactEntry]] | None = None,
    hashes: Hashes = NO_HASHES,
) -> bool:
    """Say whether the entries of a version have its digest, as far as that can be computed here.

    entries: its entries in the order of their paths, if the record is without them; all are read.
    hashes: with one for XXH128, digests of it are computed too.
    """
    digest = ManifestDigest(record.digest_algorithm, hashes.get(XXH128))
    for some in [record.entries or ()] if entries is None else entries:
        digest.update(some)
    known = record.entries is not None and record.digest is not None
    return not known or digest.hexdigest() in (None, record.digest)
