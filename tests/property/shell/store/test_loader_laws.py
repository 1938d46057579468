"""Laws of the loaders: they give what reading line by line gives, also where a line is damaged."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.pipeline import is_successful
from returns.result import Result

from dr_wandb import DrWandbError, iter_history_rows, load_run_snapshots
from dr_wandb.core.contract.codec import decode_row, decode_snapshot, encode_document, encode_line
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_row, normalize_run
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.core.contract.request import ExportMode
from tests.support import strategies as some

Load = Callable[[str, Path], Iterable[Any]]
Decode = Callable[[bytes], Result[Any, str]]

NAME = "export"
WHEN = "2024-01-01T00:00:00Z"
MANIFEST = ExportManifest(
    name=NAME,
    entity="team",
    project="project",
    mode=ExportMode.HISTORY,
    created_at=WHEN,
    updated_at=WHEN,
    runs_path="runs.jsonl",
    history_path="history.jsonl",
)


def row_line(raw_row: dict[str, Any]) -> bytes:
    return encode_line(normalize_row(raw_row, some.RUN_ID))


def snapshot_line(config: dict[str, Any]) -> bytes:
    run = normalize_run({"name": "run", "config": config}, entity="team", project="project")
    return encode_line(RunSnapshot(run=run, exported_at=WHEN))


ROW = row_line({"_step": 1, "loss": 0.5})
SNAPSHOT = snapshot_line({"lr": 0.1})
LONG_ROW = row_line({"text": "x" * 30_000})

rows = some.raw_rows.map(row_line) | st.sampled_from([ROW, LONG_ROW])
snapshots = st.dictionaries(some.texts, some.json_values, max_size=3).map(snapshot_line)


def spaced(line: bytes) -> bytes:
    return line.replace(b'":', b'": ').replace(b',"', b', "')


DEEP = b'{"x":' + b"[" * 3000 + b"]" * 3000 + b","
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as 3.0.3 writes it": lambda line: spaced(line).replace(b": 0.5", b": NaN"),
    "with a user of 3.0.3": lambda line: line.replace(b'"user":null', b'"user":"<User u>"'),
    "with space": spaced,
    "with space around": lambda line: b" \t" + line[:-1] + b" \r\n",
    "twice on a line": lambda line: line[:-1] + line,
    "over two lines": lambda line: line.replace(b",", b",\n", 1),
    "over many lines": lambda line: line.replace(b":", b":\n"),
    "without its end": lambda line: line[:-1],
    "cut": lambda line: line[: len(line) // 2],
    "behind a blank line": lambda line: b"\n" + line,
    "before a line of space": lambda line: line + b"  \n",
    "behind a byte order mark": lambda line: b"\xef\xbb\xbf" + line,
    "with a byte that is not UTF-8": lambda line: line.replace(b'"', b'"\xff', 1),
    "with a return in it": lambda line: line.replace(b",", b"\r,\r"),
    "in a list": lambda line: b"[" + line[:-1] + b"]\n",
    "without a name": lambda line: line.replace(b"run", b"ran"),
    "nested too deep": lambda line: line.replace(b"{", DEEP, 1),
}
OTHER_LINES = (b"\n", b" \n", b"{}\n", b"null\n", b"1 2\n", b"\x00\n", b"}\n", b"{\n", b"\x0c\n")


@st.composite
def files(draw: Any, lines: st.SearchStrategy[bytes]) -> bytes:
    """Files of few lines or many, in which some lines are not as we write them."""
    content = draw(st.lists(lines, max_size=5)) * draw(st.sampled_from([1, 1, 7, 60]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        place = draw(st.integers(0, len(content)))
        if place < len(content) and draw(st.booleans()):
            content[place] = FORMS[draw(st.sampled_from(sorted(FORMS)))](content[place])
        else:
            content.insert(place, draw(st.sampled_from(OTHER_LINES)))
    return b"".join(content)


def reference(content: bytes, decode: Decode) -> Iterator[Any]:
    """Give the record of each line; last, where one does not read, its number and what is wrong."""
    lines = content.split(b"\n")
    whole = [line + b"\n" for line in lines[:-1]] + [lines[-1]] * bool(lines[-1])
    for number, line in enumerate(whole, start=1):
        result = decode(line)
        if not is_successful(result):
            yield number, result.failure()
            return
        yield result.unwrap()


def loaded(load: Load, file: str, content: bytes) -> Iterator[Any]:
    """Give what a loader gives, in the form of the reference."""
    with TemporaryDirectory() as folder:
        export = Path(folder) / NAME
        export.mkdir()
        (export / "manifest.json").write_bytes(encode_document(MANIFEST))
        (export / file).write_bytes(content)
        try:
            yield from load(NAME, Path(folder))
        except DrWandbError as error:
            failure = error.failure
            assert isinstance(failure, DamagedFile)
            assert failure.path == str(export / file)
            yield failure.line, failure.reason


@given(files(rows))
@example(b"")
@example(ROW * 500)
@example(LONG_ROW * 3 + ROW)
@example(ROW + b"\n" + ROW[:-1] + ROW)
@example(ROW[:-1] + ROW + b"\n" + ROW)
@example(ROW * 99 + ROW.replace(b",", b",\n") + (ROW[:-1] + ROW) * 9)
def test_history_rows_are_those_of_reading_line_by_line(content: bytes) -> None:
    found = list(loaded(iter_history_rows, "history.jsonl", content))
    assert found == list(reference(content, decode_row))


@given(files(snapshots))
@example(b"")
@example(SNAPSHOT * 200)
@example(SNAPSHOT + b"\n" + SNAPSHOT[:-1] + SNAPSHOT)
def test_run_snapshots_are_those_of_reading_line_by_line(content: bytes) -> None:
    """A list has either all of them or, with the first bad line, none."""
    found = list(loaded(load_run_snapshots, "runs.jsonl", content))
    expected = list(reference(content, decode_snapshot))
    bad = bool(expected) and isinstance(expected[-1], tuple)
    assert found == (expected[-1:] if bad else expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", [0, 1, 250, 499])
def test_each_form_of_a_line_is_read_as_by_itself(form: str, place: int) -> None:
    lines = [row_line({"_step": step, "loss": 0.5}) for step in range(500)]
    lines[place] = FORMS[form](lines[place])
    content = b"".join(lines)
    found = list(loaded(iter_history_rows, "history.jsonl", content))
    assert found == list(reference(content, decode_row))
    assert len(found) > place


def test_tried_forms_of_a_line_include_some_that_read_and_some_that_do_not() -> None:
    """Else the laws would say little of the one or the other."""
    read = {form for form, change in FORMS.items() if is_successful(decode_row(change(ROW)))}
    assert {"as 3.0.3 writes it", "with space", "with space around", "without its end"} <= read
    assert not read & {"twice on a line", "cut", "behind a byte order mark", "in a list"}
