"""Laws of assembling a console: a simple model of a terminal, character by character."""

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.offline.console import MOST_COLUMNS, MOST_ROWS, ConsoleAssembler
from dr_wandb.core.offline.records import ConsoleText, Stream

PIECES = st.sampled_from(
    [
        *("a", "b", " ", "é", "😀", "\n", "\r", "\t", "\x1b", "[", "\x1b[A", "\x1b[B", "A", "B"),
        *("\x1b[2K", "\n" * 40, "\x1b[A" * 40, "x\n" * 30, "z" * (MOST_COLUMNS - 2)),
    ]
)
TEXTS = st.lists(st.tuples(st.sampled_from([Stream.STDOUT, Stream.STDERR]), PIECES), max_size=60)


class Model:
    """wandb-core, as it is written: each character by itself, and each line kept for ever."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []
        self.shown: list[str] = []
        self.levels: list[str | None] = []
        self.views: dict[Stream, list[int]] = {Stream.STDOUT: [], Stream.STDERR: []}
        self.cursors = {Stream.STDOUT: (0, 0), Stream.STDERR: (0, 0)}
        self.escapes = {Stream.STDOUT: "", Stream.STDERR: ""}

    def write(self, stream: Stream, text: str) -> None:
        for sign in text:
            escape = self.escapes[stream]
            x, y = self.cursors[stream]
            if escape == "" and sign in "\n\r\x1b":
                if sign == "\x1b":
                    self.escapes[stream] = sign
                else:
                    self.cursors[stream] = (0, y)
                    if sign == "\n":
                        self.down(stream)
            elif escape == "\x1b" and sign == "[":
                self.escapes[stream] = "\x1b["
            elif escape == "\x1b[" and sign in "AB":
                self.escapes[stream] = ""
                if sign == "B":
                    self.down(stream)
                else:
                    self.cursors[stream] = (x, max(0, y - 1))
            else:
                self.escapes[stream] = ""
                for one in escape + sign:
                    self.put(stream, one)

    def down(self, stream: Stream) -> None:
        x, y = self.cursors[stream]
        if y + 1 >= MOST_ROWS:
            del self.views[stream][:1]
            y -= 1
        self.cursors[stream] = (x, y + 1)

    def put(self, stream: Stream, sign: str) -> None:
        x, y = self.cursors[stream]
        view = self.views[stream]
        while y >= len(view):
            view.append(len(self.lines))
            self.lines.append([])
            self.shown.append("")
            self.levels.append("error" if stream == Stream.STDERR else None)
        self.cursors[stream] = (x + 1, y)
        number = view[y]
        line = self.lines[number]
        if x >= MOST_COLUMNS or number < len(self.lines) - MOST_ROWS:
            return
        line += [" "] * (x + 1 - len(line))
        if line[x] != sign:
            line[x] = sign
            self.shown[number] = "".join(line)


@given(TEXTS)
def test_lines_are_those_of_a_terminal_that_takes_each_character_alone(
    texts: list[tuple[Stream, str]],
) -> None:
    model, assembler = Model(), ConsoleAssembler()
    rows = []
    for stream, text in texts:
        model.write(stream, text)
        assembler.write(ConsoleText(stream=stream, raw=text.encode()))
        rows += assembler.take()
    rows += assembler.finish()
    assert [(row["level"], row["line"]) for row in rows] == [
        *zip(model.levels, model.shown, strict=True)
    ]
    assert [row["_step"] for row in rows] == [*range(len(rows))]
    assert assembler.count == len(rows)


@given(TEXTS, st.data())
def test_lines_do_not_depend_on_where_text_is_split(
    texts: list[tuple[Stream, str]], data: st.DataObject
) -> None:
    whole, parts = ConsoleAssembler(), ConsoleAssembler()
    for stream, text in texts:
        raw = text.encode()
        whole.write(ConsoleText(stream=stream, raw=raw))
        at = data.draw(st.integers(0, len(raw)))
        for part in (raw[:at], raw[at:]):
            parts.write(ConsoleText(stream=stream, raw=part))
    assert parts.finish() == whole.finish()
