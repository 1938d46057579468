"""Find words that make this project hard to read: `python -m tools.plain_english`.

Prints each of them with its file and line. A test holds their number down. Of source files, the
comments, the texts and the names are read; of documents, all but code. Needs nothing but the
standard library.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

BETTER = {
    r"where": "if, when, in which",
    r"told|tells?|telling": "reported, says, names",
    r"begun": "started",
    r"heard": "read from",
    r"anew": "again",
    r"lack(s|ing)?": "missing, without",
    r"mend(s|ed)?": "fix, repair",
    r"lies|lie|lying": "is in, is at",
    r"so many": "a number, at most N",
    r"so long": "N seconds",
    r"left out|leaves? out|leaving out": "skipped, not exported",
    r"places?": "byte range, row key, step, path, folder, index",
}
"""Words to avoid, as patterns, each with what to write in its place."""

_WORDS = {word: re.compile(rf"(?<![\w`])(?:{word})(?![\w`])", re.IGNORECASE) for word in BETTER}
_NAME_PARTS = re.compile(r"told|tell|begun|heard|anew|place")
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`]*`")
_ALLOWED = re.compile(
    r"(in|into|takes?|took|taking) (its |the |their |his )?places?\b|in place of|\bWHERE\b"
)
"""Idioms: a file is renamed into place, one thing takes the place of another. And SQL."""

_ALLOWED_NAMES = frozenset({"move_into_place", "tell"})
"""The idiom, and the method of a file."""


class Found(NamedTuple):
    """A word to avoid, in a line of a file of the project."""

    word: str
    file: str
    line: int
    text: str


def find_words() -> Iterator[Found]:
    """Give all words to avoid in the source, the documents and the README."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        yield from _in_source(path)
    for path in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        yield from find_in_document(path)


def find_in_document(path: Path) -> Iterator[Found]:
    """Give the words to avoid in a document, outside of code."""
    text = _CODE.sub(lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"))
    for number, line in enumerate(text.splitlines(), start=1):
        yield from _in_text(path, number, _INLINE_CODE.sub("", line))


def _in_source(path: Path) -> Iterator[Found]:
    content = path.read_text("utf-8")
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield from _in_text(path, token.start[0] + offset, line)
        elif token.type == tokenize.NAME and token.string not in _ALLOWED_NAMES:
            parts = token.string.lower().strip("_").split("_")
            for part in parts:
                if _NAME_PARTS.fullmatch(part):
                    yield Found(_pattern_of(part), _name(path), token.start[0], token.string)


def _pattern_of(part: str) -> str:
    return next(word for word, pattern in _WORDS.items() if pattern.fullmatch(part))


def _in_text(path: Path, number: int, line: str) -> Iterator[Found]:
    text = _ALLOWED.sub("", line)
    for word, pattern in _WORDS.items():
        for _ in pattern.finditer(text):
            yield Found(word, _name(path), number, line.strip())


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def main() -> None:
    """Print what was found, and how much of it."""
    found = list(find_words())
    for one in found:
        print(f"{one.file}:{one.line}: {one.word}: {one.text}")
    for word in BETTER:
        print(f"{sum(one.word == word for one in found):5} {word}", file=sys.stderr)


if __name__ == "__main__":
    main()
