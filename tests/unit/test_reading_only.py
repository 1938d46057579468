"""The tool reads from W&B and writes nothing there: seen from its source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dr_wandb

SOURCE = Path(dr_wandb.__file__).parent

WRITING = re.compile(
    r"(save|update|delete|log|init|finish|upload\w*|create_\w+|use_artifact|log_\w+|link\w*|"
    r"add_\w+|set_\w+|stop|resume|upsert\w*|move|publish\w*|watch|restore)"
)
"""Names of methods that write, on objects of W&B (wandb 0.31.0)."""

SDK_NAMES = {"wandb", "api", "run", "project", "file", "artifact", "sweep", "session", "service"}
"""What holds an object of W&B: these names, and whatever was imported from the SDK."""

MUTATION = re.compile(r"\bmutation\b\s*\w*\s*[({]", re.IGNORECASE)


def offences(text: str) -> Iterator[str]:
    """Name everything in a source text that could write to W&B."""
    tree = ast.parse(text)
    names = SDK_NAMES | set(imported_from_the_sdk(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if MUTATION.search(node.value):
                yield f"line {node.lineno}: a mutation"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = name_of(node.func.value)
            if owner in names and WRITING.fullmatch(node.func.attr):
                yield f"line {node.lineno}: {owner}.{node.func.attr}()"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "wandb":
            for alias in node.names:
                if WRITING.fullmatch(alias.name):
                    yield f"line {node.lineno}: imports {alias.name}"


def imported_from_the_sdk(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "wandb":
                    yield (alias.asname or alias.name).partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "wandb":
            for alias in node.names:
                yield alias.asname or alias.name


def name_of(node: ast.expr) -> str:
    """Return the last name of what a method is called on, without leading underscores."""
    while isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr.lstrip("_")
    return node.id.lstrip("_") if isinstance(node, ast.Name) else ""


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_writes_to_wandb(path: Path) -> None:
    assert list(offences(path.read_text(encoding="utf-8"))) == []


def test_only_few_files_call_the_sdk() -> None:
    """Whatever imports the SDK lies with the sources, so that there is little to look at."""
    users = {
        path.relative_to(SOURCE).parts[:2]
        for path in MODULES
        if any(imported_from_the_sdk(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert users == {("shell", "sources")}


@pytest.mark.parametrize(
    "text",
    [
        "import wandb\nwandb.init(project='x')",
        "import wandb as w\nw.log({})",
        "from wandb import init",
        "from wandb.apis.public import Run\nRun.save(x)",
        "run.delete()",
        "self._run.update()",
        "api.run('e/p/r').finish()",
        "self._session.api.create_project('x', 'y')",
        "run.upload_file('x')",
        "run.use_artifact('x')",
        "run.log_artifact('x')",
        "QUERY = '''mutation Upsert($id: String!) { upsertBucket { id } }'''",
        "QUERY = 'mutation { deleteRun }'",
    ],
)
def test_check_finds_calls_that_write(text: str) -> None:
    assert list(offences(text))


@pytest.mark.parametrize(
    "text",
    [
        "names.update({})",
        "QUERY = 'query Runs { project { runs } }'",
        '"""No mutation is ever sent."""',
        "run.read()",
        "LOGGER.log(1, 'x')",
    ],
)
def test_check_accepts_calls_that_do_not_write(text: str) -> None:
    assert not list(offences(text))
