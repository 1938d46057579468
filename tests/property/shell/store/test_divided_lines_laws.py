"""Laws of lines whose large member stays on disk."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.codec import digest, encode_line
from dr_wandb.core.contract.large_member import encode_content
from dr_wandb.core.contract.manifest_entries import (
    ArtifactEntry,
    NotInPiecesError,
    entries_in_pieces,
    entries_of,
)
from dr_wandb.shell.store import divided_lines
from dr_wandb.shell.store.divided_lines import read_divided, records_in
from dr_wandb.shell.store.project_records import iter_in_pieces, iter_records

TRICKY = [',"entries":[', '],"file_count":', '},{"algorithm":', ',"entries":null', "\\", '"', "é\n"]
texts = st.lists(st.sampled_from([*TRICKY, "a", "}"]), max_size=3).map("".join)
entries = st.builds(
    ArtifactEntry,
    path=texts,
    digest=texts,
    algorithm=st.none() | st.just("MD5"),
    size=st.none() | st.integers(0, 2**63),
    reference=st.none() | texts,
)
artifacts = st.builds(
    WandbArtifact,
    collection=texts,
    artifact_id=texts,
    description=st.none() | texts,
    metadata=st.none() | st.dictionaries(st.sampled_from(["entries", "x"]), st.lists(texts)),
    created_by=st.lists(texts, max_size=2).map(tuple),
    entries=st.none() | st.lists(entries, max_size=6).map(tuple),
)
pieces = st.sampled_from([1, 2, 17, 100, 1 << 18])


@given(st.lists(artifacts, max_size=5), pieces, st.booleans())
def test_lines_in_parts_are_the_lines(
    records: list[WandbArtifact], piece: int, ends_torn: bool
) -> None:
    lines = [encode_line(one) for one in records]
    if ends_torn and lines:
        lines[-1] = lines[-1][:-1]
    with TemporaryDirectory() as folder, patch.object(divided_lines, "PIECE", piece):
        path = Path(folder, "artifacts.jsonl")
        path.write_bytes(b"".join(lines))
        arrived: list[bytes] = []
        with path.open("rb") as stream:
            for record, line, found in zip(
                records, lines, read_divided(stream, WandbArtifact, arrived.append), strict=True
            ):
                assert (found.whole, found.digest) == (line, digest(line))
                assert (found.content is None) == (record.entries is None)
                if found.content is None:
                    assert found.frame == line
                else:
                    assert found.content.whole == encode_content(record.entries or ())
                    read = [
                        one for some in records_in(found.content, WandbArtifact) for one in some
                    ]
                    assert tuple(read) == record.entries
        assert b"".join(arrived) == b"".join(lines)
        assert list(iter_records(path, WandbArtifact)) == records
        in_parts = [
            (one, [entry for some in parts for entry in some])
            for one, parts in iter_in_pieces(path, WandbArtifact)
        ]
        without = list(iter_records(path, WandbArtifact, large=False))
        whole = [list(one.entries or ()) for one in records]
        assert in_parts == list(zip(without, whole, strict=True))


raw_entries: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"digest": st.none() | texts},
    optional={
        "size": st.none() | st.integers(0, 10) | st.floats(),
        "ref": texts,
        "extra": st.none() | st.dictionaries(texts, st.lists(texts) | st.just({"a": {}})),
        "local_path": texts,
    },
)


@given(
    st.dictionaries(texts, raw_entries, max_size=8),
    st.dictionaries(st.sampled_from(["version", "x"]), st.just({"contents": {}}) | texts),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", '"contents": {"z": {"digest": "1"}}', '"contents": null', '"": {}']),
    st.sampled_from([None, 1]),
    st.integers(1, 60),
)
def test_entries_in_pieces_are_those_of_the_whole_manifest(
    contents: dict[str, object],
    more: dict[str, object],
    first: bool,
    in_order: bool,
    beside: str,
    indent: int | None,
    size: int,
) -> None:
    """beside: a further member, which may be there twice then."""
    contents = dict(sorted(contents.items())) if in_order else contents
    manifest = {"contents": contents, **more} if first else {**more, "contents": contents}
    spelled = json.dumps(manifest, indent=indent)
    if beside:
        spelled = f"{spelled[:-1]}, {beside}}}" if first else f"{{{beside}, {spelled[1:]}"
    text = spelled.encode()
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    try:
        found = tuple(one for some in entries_in_pieces(chunks) for one in some)
    except NotInPiecesError:
        strict = b"NaN" not in text and b"Infinity" not in text
        assert not (strict and in_order and not more and not beside)
    else:
        assert found == entries_of(json.loads(text))
