"""The Python examples of the documents, under the two type checkers that users have."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools.doc_examples import examples, write_examples
from tools.shown_outputs import DOCUMENTS

from tests.support.checkout import ROOT

CHECKERS = {
    "mypy": ("mypy", "--strict"),
    "pyright": ("pyright", "--pythonpath", sys.executable),
}
WRONG = """\
from pathlib import Path

from dr_wandb import ExportRequest, iter_history_rows

ExportRequest(entity="e", project="p", name="n", mode="histroy")
for row in iter_history_rows("demo", Path("data"), run_ids=["a"]):
    print(row.metric)
"""


def check(checker: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the types of the files in a folder, as in CONTRIBUTING.md."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed here; it is in CI, which checks the same files")
    return subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker], str(folder)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": "src"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_examples_of_the_documents_have_right_types(checker: str, tmp_path: Path) -> None:
    write_examples(tmp_path)
    done = check(checker, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_example_is_found(checker: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    done = check(checker, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "wrong.py:5" in done.stdout
    assert "wrong.py:7" in done.stdout


def test_every_python_block_is_an_example() -> None:
    texts = [document.read_text(encoding="utf-8") for document in DOCUMENTS]
    assert len(examples()) == sum(text.count("```python\n") for text in texts) > 8
    assert any("plan_sync" in code for code in examples().values())
    assert all(name.removesuffix(".py").isidentifier() for name in examples())


def test_example_has_the_line_numbers_of_its_document() -> None:
    text = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
    shown, written = text.splitlines(), examples()["docs_planning_1.py"].splitlines()
    lines = {number for number, line in enumerate(written) if line}
    assert len(lines) > 20
    assert all(written[number] == shown[number] for number in lines)


CHECKS = [file for file in (".ci/run", "noxfile.py", "CONTRIBUTING.md") if (ROOT / file).exists()]


@pytest.mark.parametrize("file", CHECKS)
def test_examples_are_checked_by_both_checkers_in_ci(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8").replace('", "', " ")
    assert "tools.doc_examples" in text
    lines = [line for line in text.splitlines() if "examples" in line]
    assert any("mypy" in line and "--strict" in line for line in lines)
    assert any("pyright" in line for line in lines)
