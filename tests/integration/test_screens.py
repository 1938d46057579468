"""What the command shows in three terminals: the recordings of docs/screens.md stay true.

`pytest tests/integration/test_screens.py --snapshot-update` records them again. Times, rates and
bars differ each time, so they are not compared.
"""

from __future__ import annotations

import re
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.checkout import ROOT
from tests.support.server import GraphQLErrors, Hang, Request, Status
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.server import Project, StandInServer
    from tests.support.server.faults import Fault

SCREENS = ROOT / "docs" / "screens.md"

RUNS = 60
"""More than the first page of a listing has."""

BROKEN = {"run-50", "run-55"}
"""Two that are still to come when the first sync is interrupted."""

Lines = tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of terminal. name: the value of TERM."""

    title: str
    columns: int
    name: str

    @property
    def draws(self) -> bool:
        return self.name != "dumb"


KINDS = (
    Kind("A terminal of 100 columns", 100, "xterm-256color"),
    Kind("A terminal of 40 columns", 40, "xterm"),
    Kind("A terminal that cannot draw, or a pipe", 80, "dumb"),
)


class Story:
    """A first export that is interrupted, its continuation with failures, and a good end."""

    def __init__(
        self, server: StandInServer, project: Project, command: Command, kind: Kind
    ) -> None:
        self.server, self.command, self.kind = server, command, kind
        self.arguments = (project.entity, project.name, "--name", "demo", "--mode", "history")
        for number in range(RUNS):
            run = project.add_run(f"run-{number:02}")
            run.log_all({"loss": step + number + 0.5} for step in range(40))

    def start(self) -> Terminal:
        return Terminal(
            self.arguments,
            columns=self.kind.columns,
            env=self.command.environment,
            cwd=self.command.cwd,
            kind=self.kind.name,
        )

    def play(self) -> dict[str, Lines]:
        return {**self.interrupted(), **self.with_failures(), **self.good_end()}

    def interrupted(self) -> dict[str, Lines]:
        shown: dict[str, Lines] = {}
        may_list = threading.Event()

        def before_page(offset: int) -> None:
            if offset:
                may_list.wait(20)

        self.server.before_page = before_page
        self.server.faults.add("Viewer", Hang(2.0))
        throttling = self.server.faults.add("HistoryPage", Status(429), times=None, after=20)
        with self.start() as terminal:
            self._interrupt(terminal, throttling, may_list, shown)
        assert terminal.process.returncode == 130
        return shown

    def _interrupt(
        self,
        terminal: Terminal,
        throttling: Fault,
        may_list: threading.Event,
        shown: dict[str, Lines],
    ) -> None:
        if self.kind.draws:
            shown["At the beginning"] = terminal.wait_for(lambda text: "Starting  0:01" in text)
            listed = f" 2/{RUNS} runs"
            shown["While it lists"] = terminal.wait_for(lambda text: listed in text)
        may_list.set()
        if self.kind.draws:
            seen = r"20/60.* left.*\n.*waiting"
            shown["While W&B throttles"] = terminal.wait_for(
                lambda text: re.search(seen, text) is not None
            )
        terminal.wait_for(lambda _: throttling.hits > 0)
        self.server.faults.clear()
        hanging = self.server.faults.add("HistoryPage", Hang(), times=None, after=10)
        middle = f"30/{RUNS}"
        shown["In the middle"] = terminal.wait_for(
            lambda text: middle in text and hanging.hits > 0 and "waiting 0" not in text
        )
        terminal.process.send_signal(signal.SIGINT)
        shown["After Ctrl-C"] = terminal.end()

    def with_failures(self) -> dict[str, Lines]:
        def broken(request: Request) -> bool:
            return request.run_id in BROKEN and request.operation == "HistoryPage"

        self.server.faults.clear()
        self.server.faults.add(broken, GraphQLErrors(["the history is broken"]), times=None)
        with self.start() as terminal:
            shown = {"With failures, in the end": terminal.end()}
        assert terminal.process.returncode == 3
        return shown

    def good_end(self) -> dict[str, Lines]:
        self.server.faults.clear()
        with self.start() as terminal:
            shown = {"If all is well, in the end": terminal.end()}
        assert terminal.process.returncode == 0
        return shown


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.columns))
def test_screens_are_as_documented(
    request: pytest.FixtureRequest,
    server: StandInServer,
    project: Project,
    command: Command,
    kind: Kind,
) -> None:
    shown = Story(server, project, command, kind).play()
    for title, lines in shown.items():
        assert all(len(line) <= kind.columns for line in lines), title
    if request.config.getoption("update_snapshots"):
        write_section(kind, shown)
    documented = sections()[kind.title]
    assert comparable(documented) == comparable(shown)


def comparable(shown: dict[str, Lines]) -> dict[str, str]:
    return {title: _compared("\n".join(lines)) for title, lines in shown.items()}


def _compared(text: str) -> str:
    """Return the text of a screen without what depends on time."""
    for varies, instead in (
        (r" [━─]+", ""),
        (r"  [\d.,]+ runs/s", ""),
        (r"  \d+:\d\d( left)?", ""),
        (r"throttled by W&B, waiting \d+ s\s+or\s+as\s+long\s+as\s+it\s+asks", ""),
        (r"Listed \d+ runs so far", ""),
        (r"[\d.]+\s+kB", "SIZE"),
        (r"waiting \d+:\d\d", "waiting"),
        (r"[\d.]+\s+s, \d+\s+requests", "SECONDS, REQUESTS"),
    ):
        text = re.sub(varies, instead, text)
    return " ".join(text.split())


def sections() -> dict[str, dict[str, Lines]]:
    """Return the recordings of the document, by their two headings."""
    found: dict[str, dict[str, Lines]] = {}
    for section in SCREENS.read_text().split("\n## ")[1:]:
        title, _, rest = section.partition("\n")
        scenes = re.findall(r"### ([^\n]*)\n\n```text\n(.*?)\n```", rest, re.DOTALL)
        found[title] = {scene: tuple(text.split("\n")) for scene, text in scenes}
    return found


def write_section(kind: Kind, shown: dict[str, Lines]) -> None:
    head = SCREENS.read_text().partition("\n## ")[0]
    whole = {**sections(), kind.title: shown}
    parts = [head.rstrip() + "\n"]
    for title in (one.title for one in KINDS if one.title in whole):
        parts.append(f"\n## {title}\n")
        for scene, lines in whole[title].items():
            parts.append("\n".join((f"\n### {scene}\n", "```text", *lines, "```\n")))
    SCREENS.write_text("".join(parts))
