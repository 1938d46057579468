"""What tests/README.md says of the tests is so."""

import re
from pathlib import Path

from tools.plain_english import find_in_document

TESTS = Path(__file__).parents[1]
README = (TESTS / "README.md").read_text(encoding="utf-8")
MODULES = {path.relative_to(TESTS).as_posix(): path for path in TESTS.rglob("*.py")}


def test_readme_names_files_and_folders_that_exist() -> None:
    named = re.findall(r"(?<!`)`([\w/]+(?:\.py)?)`", README)
    files = [one for one in named if one.endswith(".py")]
    known = {*MODULES, *(path.name for path in MODULES.values())}
    assert [one for one in files if one not in known] == []
    folders = [one for one in named if "/" in one and not one.endswith(".py")]
    roots = (TESTS, TESTS.parent, TESTS / "support")
    assert [one for one in folders if not any((root / one).exists() for root in roots)] == []
    assert len(files) > 40
    assert len(folders) > 10


def test_readme_names_each_module_that_tests_share() -> None:
    shared = [path.name for path in (TESTS / "support").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in shared if f"`{name}`" not in README] == []


def test_readme_is_in_plain_words() -> None:
    assert [*find_in_document(TESTS / "README.md")] == []


def test_readme_names_each_folder_of_tests() -> None:
    folders = {Path(name).parts[0] for name in MODULES if "/" in name}
    assert [folder for folder in sorted(folders) if f"\n  {folder}/" not in README] == []


def test_no_name_of_a_test_begins_with_an_article() -> None:
    texts = [path.read_text(encoding="utf-8") for path in MODULES.values()]
    names = re.findall(r"^ *def (test_\w+)\(", "\n".join(texts), re.MULTILINE)
    assert [name for name in names if name.split("_")[1] in ("a", "an", "the")] == []
    assert len(names) > 1000


def test_no_test_module_imports_another_one() -> None:
    imported = re.compile(r"^\s*(?:from|import) tests\.[\w.]*\b(test_\w+|conftest)\b", re.MULTILINE)
    assert {
        name for name, path in MODULES.items() if imported.search(path.read_text(encoding="utf-8"))
    } == set()
