"""The names of `dr_wandb` itself: that they are all there, lazy, typed and documented."""

import ast
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dr_wandb
from dr_wandb.core.contract.failures import EXIT_CODES, DrWandbError
from tests.support.checkout import ROOT

NAMES = [name for name in dr_wandb.__all__ if name != "__version__"]
PUBLIC = {name: getattr(dr_wandb, name) for name in NAMES}
OWN = {"ExportState"}
"""Values whose members are the tool's own, and may change with every version."""

UNSTABLE = {"Source"}
"""Protocols that grow with the tool: a source is opened by name, not written."""

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def typed_names() -> Iterator[tuple[str, str]]:
    """Give the names that a type checker sees in `dr_wandb`, each with its module."""
    tree = ast.parse(Path(dr_wandb.__file__).read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            for found in statement.body:
                assert isinstance(found, ast.ImportFrom)
                for alias in found.names:
                    assert alias.asname == alias.name, "not exported to type checkers"
                    yield alias.name, str(found.module).removeprefix("dr_wandb.")


def test_lazy_names_equal_the_typed_ones() -> None:
    typed = list(typed_names())
    assert len({name for name, _ in typed}) == len(typed)
    assert dict(typed) == dr_wandb._HOMES


def test_names_are_sorted_and_listed_once() -> None:
    assert dr_wandb.__all__ == sorted({*dr_wandb.__all__})
    assert list(dr_wandb._HOMES) == sorted(dr_wandb._HOMES)
    assert {*dr_wandb.__all__} <= {*dir(dr_wandb)}


@pytest.mark.parametrize("name", NAMES)
def test_name_resolves_to_what_its_home_defines_and_is_documented(name: str) -> None:
    value = PUBLIC[name]
    assert value.__name__ == name
    assert value.__module__ == f"dr_wandb.{dr_wandb._HOMES[name]}"
    assert inspect.getdoc(value)


def test_names_that_are_not_public_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'verify'"):
        getattr(dr_wandb, "verify")  # noqa: B009


def test_star_import_brings_every_name() -> None:
    names: dict[str, Any] = {}
    exec("from dr_wandb import *", names)
    assert {*dr_wandb.__all__} <= names.keys()


def test_import_brings_nothing_else_in() -> None:
    program = "import sys; own = {*sys.modules}; import dr_wandb; print(*{*sys.modules} - own)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    brought = {*done.stdout.split()}
    assert {name.partition(".")[0] for name in brought} <= {"dr_wandb", *sys.stdlib_module_names}
    assert {name for name in brought if name.startswith("dr_wandb.")} == {
        "dr_wandb.core",
        "dr_wandb.core.contract",
        "dr_wandb.core.contract.version",
    }


# --- what a public value holds, a public function returns or raises is public


def classes_of(hint: Any) -> Iterator[type]:
    """Give the classes of this project that a type hint speaks of."""
    if isinstance(hint, list):
        for one in hint:
            yield from classes_of(one)
    for argument in typing.get_args(hint):
        yield from classes_of(argument)
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type) and kind.__module__.startswith("dr_wandb"):
        yield kind


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OWN])
def test_types_that_a_public_name_leads_to_are_public(name: str) -> None:
    value = PUBLIC[name]
    hints: list[Any] = []
    if isinstance(value, type) and issubclass(value, msgspec.Struct):
        hints += typing.get_type_hints(value).values()
    members = vars(value).values() if isinstance(value, type) else [value]
    functions = [one.fget if isinstance(one, property) else one for one in members]
    hints += [
        typing.get_type_hints(one).get("return")
        for one in functions
        if inspect.isfunction(one) and not one.__name__.startswith("_")
    ]
    led_to = {kind.__name__ for hint in hints for kind in classes_of(hint)}
    assert led_to - UNSTABLE <= PUBLIC.keys()


def test_every_error_and_every_failure_is_public() -> None:
    errors, waiting = set(), [DrWandbError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("dr_wandb."):
            errors.add(kind.__name__)
    assert errors == {"DrWandbError", "InvalidRequestError", "ExportNotFoundError"}
    assert errors <= PUBLIC.keys()
    assert {kind.__name__ for kind in EXIT_CODES} <= PUBLIC.keys()


# --- documents


PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def python_blocks() -> list[Any]:
    """Return every Python block of the documents."""
    return [
        pytest.param(block, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, block in enumerate(PYTHON.findall(document.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("block", python_blocks())
def test_documents_import_public_names_only(block: str) -> None:
    for found in ast.walk(ast.parse(block)):
        if isinstance(found, ast.Import):
            modules = [alias.name for alias in found.names]
            assert [one for one in modules if one.startswith("dr_wandb.")] == []
        if isinstance(found, ast.ImportFrom) and str(found.module).startswith("dr_wandb"):
            assert found.module == "dr_wandb"
            assert {alias.name for alias in found.names} <= {*dr_wandb.__all__}


def test_documents_have_python_blocks() -> None:
    assert len(python_blocks()) >= 4


def test_library_document_names_every_public_name() -> None:
    document = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in document] == []


def test_library_document_has_the_code_of_every_failure() -> None:
    document = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", document, re.MULTILINE)
    codes = {kind: int(code) for code, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert codes == {kind.__name__: code for kind, code in EXIT_CODES.items()}
