"""What the documents tell people to type is there, and prints what they show."""

from __future__ import annotations

import re
import shlex
import textwrap
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
from tools import shown_outputs
from tools.plain_english import find_in_document
from tools.shown_outputs import CONSOLE, DOCUMENTS, PRINTS, ROOT

from dr_wandb.cli import app
from dr_wandb.core.contract.dataset import DATASETS, HISTORY, PROJECT_DATASETS

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND = re.compile(r"(?:^|\s)(?:\S*/)?wandb-export (.*)")
PLACEHOLDERS = {"...": None, "N": "1", "T": "2026-01-01", "TIME": "2026-01-01", "K": "loss"}
OF_OTHERS = {"--scale", "--repeat"}
"""Flags of other commands, in the text."""

OF_BENCHMARKS = {"docs/performance.md", "docs/guides/measure.md"}
"""Pages whose commands are those of the benchmarks."""


def commands() -> list[Any]:
    """Return the arguments of every command of this tool in a block of the documents."""
    blocks = [(name, block) for name, text in TEXTS.items() for _, block in FENCED.findall(text)]
    found = [(name, COMMAND.search(line)) for name, block in blocks for line in block.splitlines()]
    return [
        pytest.param(match[1], id=f"{name}-{number}")
        for number, (name, match) in enumerate(found)
        if match is not None
    ]


def arguments_of(command: str) -> list[str]:
    """Return what a shell would pass on, with a value for each placeholder."""
    words = takewhile(
        lambda word: word not in (">", ">>", "|", "&&"), shlex.split(command, comments=True)
    )
    values = [PLACEHOLDERS.get(word, word) for word in words]
    return [value for value in values if value is not None]


@cache
def flags() -> frozenset[str]:
    """Return every flag of every command."""
    known = {"--help", "--version"}
    for name in app:
        if not name.startswith("-"):
            for argument in app[name].assemble_argument_collection():
                known |= {flag for flag in argument.names if flag.startswith("--")}
    return frozenset(known)


@pytest.mark.parametrize("command", commands())
def test_command_in_a_block_exists_with_its_flags(command: str) -> None:
    app.parse_args(arguments_of(command), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", sorted({*TEXTS} - OF_BENCHMARKS))
def test_flags_and_subcommands_in_the_text_exist(name: str) -> None:
    subcommands = {one for one in app if not one.startswith("-")}
    unknown = []
    for code in INLINE.findall(FENCED.sub("", TEXTS[name])):
        if called := re.match(r"wandb-export ([a-z]\w*)", code):
            unknown += [called[1]] if called[1] not in subcommands else []
        if code.startswith(("--", "wandb-export ")):
            named = re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
            unknown += [flag for flag in named if flag not in {*flags(), *app} | OF_OTHERS]
    assert unknown == []


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_a_page_and_a_heading(name: str) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", TEXTS[name])):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        path = (ROOT / name).parent / file if file else ROOT / name
        if not path.exists() or (anchor and anchor not in anchors(path)):
            missing.append(target)
    assert missing == []


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- what is shown


@pytest.fixture(scope="module")
def shown_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    shown_outputs.prepare(folder)
    return folder


def consoles() -> list[Any]:
    return [
        pytest.param(command, printed, id=f"{name}: {command}")
        for name, text in TEXTS.items()
        for block in CONSOLE.findall(text)
        for command, printed in shown_outputs.commands_in(block)
    ]


@pytest.mark.parametrize(("command", "printed"), consoles())
def test_command_prints_what_a_document_shows(
    command: str, printed: str, shown_exports: Path
) -> None:
    now = shown_outputs.run(command, shown_exports)
    assert shown_outputs.comparable(printed).rstrip("\n") == shown_outputs.comparable(now).rstrip(
        "\n"
    ), "python -m tools.shown_outputs --write"


def test_readme_shows_status_log_and_verify() -> None:
    shown = [command for block in CONSOLE.findall(TEXTS["README.md"]) for command in block.split()]
    assert {"status", "log", "verify"} <= {*shown}


needs_dask = pytest.mark.skipif(find_spec("dask") is None, reason="`nox -s readers` has Dask")


def loaders() -> list[Any]:
    return [
        pytest.param(
            found["code"],
            found["printed"],
            id=f"{name}-{number}",
            marks=[needs_dask] if "import dask" in found["code"] else [],
        )
        for name, text in TEXTS.items()
        for number, found in enumerate(PRINTS.finditer(text))
    ]


@pytest.mark.parametrize(("code", "printed"), loaders())
def test_code_prints_what_a_document_shows(code: str, printed: str, shown_exports: Path) -> None:
    assert shown_outputs.run_python(code, shown_exports) == printed


def test_documents_show_code_for_each_loader() -> None:
    used = {word for code, *_ in PRINTS.findall("".join(TEXTS.values())) for word in code.split()}
    assert {"duckdb", "polars", "pandas", "dask.dataframe", "dr_wandb"} <= used


# --- what is said


@pytest.mark.parametrize("dataset", sorted({*DATASETS, *PROJECT_DATASETS} - {HISTORY}))
def test_readme_names_every_dataset_that_an_export_may_hold(dataset: str) -> None:
    table = TEXTS["README.md"].partition("| an export holds |")[2].partition("\n\n")[0]
    assert f"`--with {dataset}`" in table


def test_every_page_is_in_the_list_of_pages() -> None:
    pages = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    listed = TEXTS["docs/README.md"]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in listed] == []


def test_tests_and_files_that_contributors_are_sent_to_exist() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    tests = {*re.findall(r"^ *def (test_\w+)\(", "".join(sources), re.MULTILINE)}
    named = INLINE.findall(FENCED.sub("", TEXTS["CONTRIBUTING.md"]))
    assert [one for one in named if one.startswith("test_") and one not in tests] == []
    files = [one for one in named if re.fullmatch(r"[\w/.]+/[\w.]+\.(py|md)|[\w/]+/[a-z]+", one)]
    folders = (ROOT, ROOT / "src" / "dr_wandb", ROOT / "src" / "dr_wandb" / "shell" / "sources")
    assert [one for one in files if not any((top / one).exists() for top in folders)] == []
    assert len(files) > 20


LINE_WIDTH = 100
"""Characters in a line of a paragraph, roughly as a browser shows it."""

MOST_LINES = 5
MOST_WORDS = 28
LIST_ITEM = re.compile(r"\s*(?:[-*]|\d+\.) ")


def paragraphs_of(text: str) -> list[str]:
    """Return the paragraphs and list items of a page as readers see them, without their links.

    Code, headings, tables and comments are no paragraphs.
    """
    prose = re.sub(r"<!--.*?-->", "", FENCED.sub("", text), flags=re.DOTALL)
    prose = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", prose)
    paragraphs: list[list[str]] = [[]]
    for line in prose.splitlines():
        if not line.strip() or line.startswith(("|", "#")):
            paragraphs.append([])
        elif LIST_ITEM.match(line):
            paragraphs.append([line])
        else:
            paragraphs[-1].append(line)
    return [" ".join(map(str.strip, lines)) for lines in paragraphs if lines]


def sentences_of(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph, and the halves at a colon or a semicolon."""
    return re.split(r"(?<=[.:;?!])\s+", paragraph)


@pytest.mark.parametrize("name", TEXTS)
def test_page_has_short_paragraphs_and_sentences(name: str) -> None:
    paragraphs = paragraphs_of(TEXTS[name])
    assert [one for one in paragraphs if len(textwrap.wrap(one, LINE_WIDTH)) > MOST_LINES] == []
    sentences = [sentence for one in paragraphs for sentence in sentences_of(one)]
    assert [one for one in sentences if len(one.split()) > MOST_WORDS] == []


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("One\nline.\n\nAnother.", ["One line.", "Another."]),
        ("# Heading\nText [of a link](page.md#part).", ["Text of a link."]),
        ("Items:\n- one\n  goes on\n2. two", ["Items:", "- one goes on", "2. two"]),
        ("| a | table |\n|---|---|\nText", ["Text"]),
        ("```sh\ncode\n```\n<!-- mark -->\nText", ["Text"]),
    ],
)
def test_paragraphs_are_found(text: str, paragraphs: list[str]) -> None:
    assert paragraphs_of(text) == paragraphs


@pytest.mark.parametrize("name", TEXTS)
def test_page_is_in_plain_words(name: str) -> None:
    assert [*find_in_document(ROOT / name)] == []
