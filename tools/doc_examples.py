"""Write the Python blocks of the documents as files: `python -m tools.doc_examples FOLDER`.

Type checkers read them there, each block for itself. The name of a file says where it is from.
A block that uses a library of others is for pyright in its basic mode: not every type is known. One
that uses a library which the tests do not install is left out.
"""

import re
import sys
from pathlib import Path

from tools.shown_outputs import DOCUMENTS, ROOT

OTHERS = re.compile(r"^import (duckdb|pandas|polars)$", re.MULTILINE)
NOT_INSTALLED = re.compile(r"^(import|from) (dask|pyspark)\b", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> dict[str, str]:
    """Return each block with a name for its file, as in `docs_planning_1.py`.

    A line has the same number there as in the document.
    """
    found = {}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        page = "_".join(document.relative_to(ROOT).with_suffix("").parts)
        for number, block in enumerate(PYTHON.finditer(text), start=1):
            blank = "\n" * text.count("\n", 0, block.start(1))
            mode = "# pyright: basic" if OTHERS.search(block[1]) else ""
            name = f"{page.replace('-', '_').lower()}_{number}.py"
            found[name] = f"{mode}{blank}{block[1]}"
    return found


def write_examples(folder: Path) -> list[Path]:
    """Write the blocks into a folder, which is made; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, code in examples().items():
        if NOT_INSTALLED.search(code):
            continue
        files.append(folder / name)
        files[-1].write_text(code, encoding="utf-8")
    return files


def main() -> None:
    """Write them."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tools.doc_examples FOLDER")
    write_examples(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
