"""The entries of a manifest, whole and in pieces, and their digest."""

import hashlib
import json
from typing import Any

import pytest
import xxhash

from dr_wandb.core.contract import manifest_entries
from dr_wandb.core.contract.manifest_entries import (
    ArtifactEntry,
    ManifestDigest,
    NotInPiecesError,
    as_contents,
    entries_in_pieces,
    entries_of,
    manifest_digest,
)

CONTENTS: dict[str, Any] = {
    "a b/{}.txt": {"digest": "1", "size": 4, "local_path": "/home/ada/x"},
    'b},{"algorithm":': {"digest": "2", "extra": {"alg": "XXH128", "more": [{}]}, "size": 0},
    "c": {"digest": "3", "ref": "s3://bucket/x", "extra": {"etag": "}"}},
    'd"},': {"digest": None, "birthArtifactID": "x"},
}


TWO_CONTENTS = (
    b'{"contents": null, "contents": {"a": {"digest": "1"}}}',
    b'{"contents": {"a": {"digest": "1"}}, "contents": {"b": {"digest": "2"}}}',
    b'{"contents": {"a": {"digest": "1"}}, "": {}, "c\\u006fntents": {"b": {"digest": "2"}}}',
    b'{"c\\u006fntents": {"b": {"digest": "2"}}, "contents": {"a": {"digest": "1"}}}',
    b'{"contents": {"a": {"digest": "1"}}, "contents": null}',
)


def manifest(contents: Any = CONTENTS, **more: Any) -> bytes:
    return json.dumps({"version": 1, "contents": contents, **more}).encode()


def in_pieces(text: bytes, size: int) -> tuple[ArtifactEntry, ...]:
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    return tuple(one for some in entries_in_pieces(chunks) for one in some)


def test_reference_has_no_algorithm_of_ours() -> None:
    raw = {"digest": "etag", "ref": "s3://bucket/x", "size": 0}
    (entry,) = entries_of({"contents": {"x": raw}})
    assert (entry.reference, entry.algorithm, entry.size) == ("s3://bucket/x", None, None)
    (empty,) = entries_of({"contents": {"x": {"digest": "d", "size": 0}}})
    assert empty.size == 0


def test_manifest_without_contents_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no contents"):
        entries_of({"contents": []})


def test_digest_is_that_of_the_sdk() -> None:
    """Verified against the artifacts that the SDK made, see its `ArtifactManifestV1.digest`."""
    entries = entries_of({"contents": {"b": {"digest": "2"}, "a": {"digest": "1"}}})
    expected = b"wandb-artifact-manifest-v1\na:1\nb:2\n"
    assert manifest_digest(entries, None) == hashlib.md5(expected).hexdigest()
    assert manifest_digest(reversed(entries), "MD5") == hashlib.md5(expected).hexdigest()
    assert manifest_digest(entries, "XXH128", xxhash.xxh128) == xxhash.xxh128(expected).hexdigest()
    assert manifest_digest(entries, "XXH128") is None


def test_nothing_of_the_uploader_is_kept() -> None:
    for entries in (entries_of({"contents": CONTENTS}), in_pieces(manifest(), 7)):
        assert "ada" not in repr(entries)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize(
    "text",
    [
        manifest(),
        manifest(storagePolicyConfig={"storageLayout": "V2", "a": [1, {"b": 2}]}),
        manifest({}),
        manifest({"a": {"digest": "1", "extra": {"x": [{}] * 40}}, "b": {"digest": "2"}}),
        json.dumps({"contents": CONTENTS}, indent=2).encode(),
        json.dumps({"contents": CONTENTS, "version": 1}, separators=(",", ":")).encode(),
    ],
)
def test_pieces_are_the_same_entries(text: bytes, size: int) -> None:
    assert in_pieces(text, size) == entries_of(json.loads(text))


def test_pieces_come_before_the_end_is_read() -> None:
    contents = {f"{number:05}": {"digest": "d"} for number in range(1000)}
    text = manifest(contents)
    chunks = iter([text[at : at + 500] for at in range(0, len(text), 500)])
    first = next(entries_in_pieces(chunks))
    assert 0 < len(first) < 100
    assert len(list(chunks)) > 20


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"version": 1}',
        b'{"contents": []}',
        b'{"contents": {"a": {"digest": "1"}',
        b'{"contents": {"a": {"digest": NaN}}}',
        b'{"contents": {"a": []}}',
        b'{"contents": {"b": {"digest": "1"}, "a": {"digest": "2"}}}',
        b'{"contents": {"a": {"digest": "1"}, "a": {"digest": "2"}}}',
        b'{"inner": {"contents": {"a": {}}}, "contents": {}}',
        b'{"text": "\\"contents\\":{", "contents": {}}',
        b'{"contents": {"a": {"digest": "1"}}, "contents": 3}',
        *TWO_CONTENTS,
    ],
)
def test_other_manifests_are_decoded_whole(text: bytes) -> None:
    for size in (1, 5, 1000):
        try:
            assert in_pieces(text, size) == entries_of(json.loads(text))
        except NotInPiecesError:
            continue


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("text", TWO_CONTENTS)
def test_manifest_with_two_contents_is_decoded_whole(text: bytes, size: int) -> None:
    """The entries depended on how many bytes came at a time."""
    with pytest.raises(NotInPiecesError, match="two contents"):
        in_pieces(text, size)


def test_paths_out_of_order_need_the_whole_manifest() -> None:
    text = b'{"contents": {"b": {"digest": "1"}, "a": {"digest": "2"}}}'
    with pytest.raises(NotInPiecesError, match="not in order"):
        in_pieces(text, 1)


def test_long_texts_without_an_entry_need_the_whole_manifest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifest_entries, "MOST_BYTES", 100)
    for text in (b'{"a": "' + b"x" * 500, b'{"contents": {"a": {"digest": "' + b"x" * 500):
        with pytest.raises(NotInPiecesError, match=r"no contents|very long"):
            in_pieces(text, 50)


def test_unusable_members_are_refused_as_in_a_whole_manifest() -> None:
    contents = {"a": {"digest": "1", "extra": [1]}}
    with pytest.raises(AttributeError):
        entries_of({"contents": contents})
    with pytest.raises(NotInPiecesError):
        in_pieces(manifest(contents), 1000)


def test_digest_of_pieces_is_that_of_all() -> None:
    entries = entries_of({"contents": CONTENTS})
    digest = ManifestDigest("MD5")
    for one in entries:
        digest.update([one])
    assert digest.hexdigest() == manifest_digest(entries, "MD5")
    unknown = ManifestDigest("XXH128")
    unknown.update(entries)
    assert unknown.hexdigest() is None


def test_entries_as_contents_are_the_same_entries() -> None:
    entries = entries_of({"contents": CONTENTS})
    assert entries_of({"contents": as_contents(entries)}) == entries
