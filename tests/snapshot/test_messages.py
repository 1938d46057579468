"""Every message that people may read, in one file, so that it can be reviewed as a whole.

The snapshot holds an example of each failure, and the texts of each source file: all that have
words in them, docstrings and code apart. They are found in the syntax trees. `{...}` stands for a
value. The help is in files of its own: `test_help.py`. Write the file again with
`--snapshot-update`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from syrupy.assertion import SnapshotAssertion

from tests.support.failure_examples import EXAMPLES
from tests.support.text_file import TextFile

SOURCE = Path(__file__).parents[2] / "src" / "dr_wandb"

CODE = re.compile(r"query |SELECT |INSERT |PRAGMA |WHERE |.*(\(\?:|\\[bd]|\$scope|\$before)")
"""Texts that hold SQL, GraphQL or a regular expression, by their beginnings."""

CODE_IN = {"processes.py", "queries.py", "schema.py", "tail_pages.py", "tracked_store.py"}
"""Files in which a text of several lines is code."""


def test_messages(snapshot: SnapshotAssertion) -> None:
    sections = [_failures(), *_texts()]
    text = "\n".join(f"== {title}\n\n{body}\n" for title, body in sections)
    assert text == snapshot(name="messages", extension_class=TextFile)


def _failures() -> tuple[str, str]:
    texts = [
        f"{type(failure).__name__}, exit {code}\n{_indented(failure.describe())}"
        for failure, code in EXAMPLES
    ]
    return "failures", "\n".join(texts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _texts() -> Iterator[tuple[str, str]]:
    """Give the texts of each source file that has some, in their order."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        texts = dict.fromkeys(
            text for node in _values(tree) for text in [_text_of(node)] if _is_message(text)
        )
        if path.name in CODE_IN:
            texts = {text: None for text in texts if "\n" not in text.strip()}
        if texts:
            yield path.relative_to(SOURCE).as_posix(), "\n".join(texts)


def _values(node: ast.AST) -> Iterator[ast.expr]:
    """Give the outermost text expressions below a node, docstrings and annotations apart."""
    if isinstance(node, ast.Constant | ast.JoinedStr):
        yield node
        if isinstance(node, ast.JoinedStr):  # a text may be inside of a value
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from _values(part.value)
        return
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in field if isinstance(field, list) else [field]:
            is_docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if isinstance(child, ast.AST) and not is_docstring:
                yield from _values(child)


def _text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{...}" for part in node.values
        )
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_message(text: str) -> bool:
    """Say whether a text has words: a space in it, and a part that is all letters."""
    if " " not in text.strip() or CODE.match(text.lstrip()):
        return False
    return any(word.strip(".,:;'()").isalpha() for word in text.replace("{...}", "").split())
