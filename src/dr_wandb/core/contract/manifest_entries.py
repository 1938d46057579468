"""The entries of an artifact's manifest: from its JSON, also in pieces, and their digest.

Rules
- Entries are in the order of their paths. The path at which an uploader had a file is not kept.
- A manifest as W&B's clients write it (strict JSON, paths in order, one `contents`) is decoded in
  pieces, so memory does not grow with it. Any other one is `NotInPiecesError`, and has to be
  decoded whole.
- A piece is cut at the end of an entry. Whether it is one needs no parser of our own: the bytes
  before it decode as an object if and only if they are complete members.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dr_wandb.core.contract.project_record import Hashed, count_of, text_of
from dr_wandb.core.contract.records import Record

MD5, XXH128 = "MD5", "XXH128"

MOST_BYTES = 1 << 24
"""The most bytes without an end of an entry before a manifest is decoded whole."""

MOST_TRIES = 16
"""How many ends of an object are tried for that of an entry: its `extra` has some, too."""

_HEADER = b"wandb-artifact-manifest-v1\n"
_BEGINNING = re.compile(rb'"contents"\s*:\s*\{')


class NotInPiecesError(ValueError):
    """A manifest that has to be decoded whole."""


class ArtifactEntry(Record, frozen=True, kw_only=True):
    """One entry of a manifest.

    `digest` is the base64 of the `algorithm`, None for a reference: then it is what its store says.
    The size of a reference is often not known: W&B has 0 then, or nothing.
    """

    path: str
    digest: str
    algorithm: str | None = None
    size: int | None = None
    reference: str | None = None


class _RawEntry(msgspec.Struct):
    """The members of an entry that are kept."""

    digest: Any = None
    size: Any = None
    ref: Any = None
    extra: Any = None


class _Rest(msgspec.Struct):
    """The end of a manifest, as one of its own."""

    contents: dict[str, _RawEntry]


class _Others(msgspec.Struct):
    """The end of a manifest, with its contents under another name."""

    contents: msgspec.Raw = msgspec.Raw()


_MEMBERS = msgspec.json.Decoder(dict[str, _RawEntry])
_REST = msgspec.json.Decoder(_Rest)
_OTHERS = msgspec.json.Decoder(_Others)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def entries_of(manifest: Mapping[str, Any]) -> tuple[ArtifactEntry, ...]:
    """Return the entries of a manifest's JSON by path. Raises ValueError if it is none."""
    contents = manifest.get("contents")
    if not isinstance(contents, Mapping):
        raise ValueError("it has no contents")
    entries = (
        _entry(path, raw.get("digest"), raw.get("size"), raw.get("ref"), raw.get("extra"))
        for path, raw in contents.items()
    )
    return tuple(sorted(entries, key=_path_of))


def entries_in_pieces(chunks: Iterable[bytes]) -> Iterator[list[ArtifactEntry]]:
    """Yield the entries of a manifest's JSON by path, some at a time.

    The same as `entries_of`, or NotInPiecesError, at any moment; so too for an entry with unusable
    members, which a second `contents` may replace.
    """
    previous: str | None = None
    for members in _members_in_pieces(iter(chunks)):
        entries = []
        for path, raw in members.items():
            if previous is not None and path <= previous:
                raise NotInPiecesError("its paths are not in order")
            previous = path
            try:
                entries.append(_entry(path, raw.digest, raw.size, raw.ref, raw.extra))
            except (ValueError, TypeError, AttributeError) as error:
                raise NotInPiecesError(str(error)) from error
        yield entries


def _members_in_pieces(chunks: Iterator[bytes]) -> Iterator[Mapping[str, _RawEntry]]:
    rest = _skip_beginning(chunks)
    while chunk := next(chunks, b""):
        rest += chunk
        members, rest = _take_members(rest)
        if members:
            yield members
        elif len(rest) > MOST_BYTES:
            raise NotInPiecesError("it has a very long entry")
    try:
        if bytes(_OTHERS.decode(b'{"":{' + rest).contents):
            raise NotInPiecesError("it has two contents")
        last = _REST.decode(b'{"contents":{' + rest).contents
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotInPiecesError(str(error)) from error
    yield last


def _skip_beginning(chunks: Iterator[bytes]) -> bytes:
    """Return what follows the brace that opens the contents."""
    head = b""
    for chunk in chunks:
        head += chunk
        found = _BEGINNING.search(head)
        if found is not None:
            before = head[: found.start()].rstrip().removesuffix(b",")
            try:
                others = _OBJECT.decode(before + b"}")
            except (msgspec.DecodeError, RecursionError) as error:
                raise NotInPiecesError("its contents are at an unexpected depth") from error
            if "contents" in others:
                raise NotInPiecesError("it has two contents")
            return head[found.end() :]
        if len(head) > MOST_BYTES:
            break
    raise NotInPiecesError("it has no contents")


def _take_members(text: bytes) -> tuple[Mapping[str, _RawEntry], bytes]:
    """Return the complete members at the beginning of a text, and the rest after the comma."""
    end = len(text)
    for _ in range(MOST_TRIES):
        end = text.rfind(b"}", 0, end)
        if end < 0:
            break
        after = text[end + 1 :].lstrip()
        if after.startswith(b","):
            try:
                return _MEMBERS.decode(b"{%b}" % text[: end + 1]), after[1:]
            except (msgspec.DecodeError, RecursionError):
                continue
    return {}, text


def _entry(path: str, digest: Any, raw_size: Any, ref: Any, extra: Any) -> ArtifactEntry:
    reference = text_of(ref)
    algorithm = XXH128 if (extra or {}).get("alg") == XXH128 else MD5
    size = count_of(raw_size)
    return ArtifactEntry(
        path=text_of(path) or "",
        digest=text_of(digest) or "",
        algorithm=None if reference is not None else algorithm,
        size=size or None if reference is not None else size,
        reference=reference,
    )


def _path_of(entry: ArtifactEntry) -> str:
    return entry.path


class ManifestDigest:
    """The digest of a version, from its entries in the order of their paths.

    algorithm: `MD5`, also if it is not known, or `XXH128`, for which xxh128 is needed.
    """

    def __init__(self, algorithm: str | None, xxh128: Callable[[], Hashed] | None = None) -> None:
        hashed: Hashed | None = None
        if algorithm != XXH128:
            hashed = hashlib.md5(usedforsecurity=False)
        elif xxh128 is not None:
            hashed = xxh128()
        self._hashed = hashed
        if hashed is not None:
            hashed.update(_HEADER)

    def update(self, entries: Sequence[ArtifactEntry]) -> None:
        """Add the next entries."""
        if self._hashed is not None:
            lines = "".join([f"{entry.path}:{entry.digest}\n" for entry in entries])
            self._hashed.update(lines.encode())

    def hexdigest(self) -> str | None:
        """Return the digest in hex, None if it cannot be computed here."""
        return None if self._hashed is None else self._hashed.hexdigest()


def manifest_digest(
    entries: Iterable[ArtifactEntry],
    algorithm: str | None,
    xxh128: Callable[[], Hashed] | None = None,
) -> str | None:
    """Return the digest that a version with these entries has, in hex. Arguments as above."""
    digest = ManifestDigest(algorithm, xxh128)
    digest.update(sorted(entries, key=_path_of))
    return digest.hexdigest()


def as_contents(entries: Iterable[ArtifactEntry]) -> dict[str, Any]:
    """Return entries as the contents of a manifest's JSON, with nothing but what they have."""
    return {
        entry.path: {
            "digest": entry.digest,
            **({} if entry.size is None else {"size": entry.size}),
            **({} if entry.reference is None else {"ref": entry.reference}),
            **({"extra": {"alg": XXH128}} if entry.algorithm == XXH128 else {}),
        }
        for entry in entries
    }
