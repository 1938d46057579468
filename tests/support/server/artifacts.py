"""The artifacts that the stand-in serves: collections, versions in them, and links to runs.

Guarantees:
- a version has the digest of its manifest, unless a test gives it another one;
- one version may be in several collections; the aliases of a version name their collection;
- a collection's `updated_at` moves when a version is added, and when a test says so.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.server.model import Project


def entry(content: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of a manifest as the SDK writes it, with the uploader's path."""
    return {
        "digest": content,
        "size": len(content),
        "birthArtifactID": "QXJ0aWZhY3Q6MQ==",
        "local_path": "/home/ada/secret-place/file",
        **fields,
    }


def digest_of(contents: Mapping[str, Any], algorithm: str) -> str:
    """Return the digest of a manifest with these entries."""
    hashed: Any = xxhash.xxh128() if algorithm == "XXH128" else hashlib.md5()
    hashed.update(b"wandb-artifact-manifest-v1\n")
    for path in sorted(contents):
        hashed.update(f"{path}:{contents[path]['digest']}\n".encode())
    return str(hashed.hexdigest())


@dataclass
class Version:
    """One version. project_is_null: the server gives no project, as it does now and then.

    status: of the download of its manifest. served: the bytes that are downloaded instead.
    """

    artifact_id: str
    collection: Collection
    index: int | None
    contents: dict[str, Any]
    state: str = "COMMITTED"
    algorithm: str = "MD5"
    aliases: list[tuple[str, str]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    description: str | None = None
    metadata: str | None = None
    history_step: int | None = None
    project_is_null: bool = False
    digest: str | None = None
    status: int = 200
    served: bytes | None = None
    urls: int = 0

    def fields(self) -> dict[str, Any]:
        """Return the members of its GraphQL node."""
        return {
            "version": self,
            "id": self.artifact_id,
            "versionIndex": self.index,
            "description": self.description,
            "metadata": self.metadata,
            "state": self.state,
            "size": sum(one.get("size") or 0 for one in self.contents.values()),
            "digest": self.digest or digest_of(self.contents, self.algorithm),
            "digestAlgorithm": f"MANIFEST_{self.algorithm}",
            "fileCount": len(self.contents),
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": "2026-01-02T00:00:00",
            "ttlDurationSeconds": -1,
            "ttlIsInherited": True,
            "historyStep": self.history_step,
            "commitHash": None,
        }

    @property
    def manifest(self) -> bytes:
        """Return the bytes of its manifest."""
        if self.served is not None:
            return self.served
        return json.dumps(
            {
                "version": 1,
                "storagePolicy": "wandb-storage-policy-v1",
                "storagePolicyConfig": {"storageLayout": "V2"},
                "contents": self.contents,
            }
        ).encode()


@dataclass
class Collection:
    """One collection: its members with their number in it; a None is a null in the answer.

    counted_beyond: how many more members the server counts than it lists.
    """

    project: Project
    name: str
    type: str
    members: list[tuple[int | None, Version] | None] = field(default_factory=list)
    updated_at: str = "2026-01-01T00:00:00"
    counted_beyond: int = 0

    def add(self, contents: dict[str, Any] | None = None, **fields: Any) -> Version:
        """Add a version; "latest" moves to it."""
        number = len(self.members)
        artifact_id = f"QXJ0aWZhY3Q6{self.project.world.next_number()}"
        contents = {"a.txt": entry(f"digest-{number}")} if contents is None else contents
        version = Version(artifact_id, self, number, contents, **fields)
        for member in self.members:
            if member is not None:
                latest = ("latest", self.name)
                member[1].aliases = [one for one in member[1].aliases if one != latest]
        version.aliases.append(("latest", self.name))
        self.members.append((number, version))
        self.touch()
        return version

    def link(self, version: Version) -> None:
        """Add a version of another collection."""
        self.members.append((len(self.members), version))
        self.touch()

    def touch(self) -> None:
        """Let the server notice a change."""
        minutes, seconds = divmod(self.project.world.next_number(), 60)
        self.updated_at = f"2026-01-01T00:{minutes % 60:02}:{seconds:02}"


def member(number: int | None, version: Version, **edge: Any) -> dict[str, Any]:
    """Return a version as a member of a connection."""
    name = None if number is None else f"v{number}"
    return {**version.fields(), "edge": {"version": name, **edge}}
