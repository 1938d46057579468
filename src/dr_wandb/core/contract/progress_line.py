"""The line of a terminal that says how far a command is, at any width.

Rules
- A line is never longer than the terminal is wide.
- If there is little room, first the bar goes, then the rate, the rows, the time to the end. The
  failures and the count of what is done stay.
- A wait has a line of its own, below: how long it still takes, and why. Nothing in it can steer the
  terminal.
"""

from collections.abc import Iterator

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.wording import clock_time, printable, size_in_words

LEAST_BAR, MOST_BAR = 8, 32
"""Columns of the bar; it is not drawn if fewer are free."""

BLOCKS = ("━", "─")
ASCII_BLOCKS = ("#", "-")
"""What the bar is made of: the done part and the rest."""

_RATES = {Stage.CONVERTING: " rows/s", Stage.RECORDS: "/s"}

_ORDER = ("rows", "bytes", "rate", "left", "trouble")


def describe_progress(
    progress: Progress,
    seconds: float,
    width: int,
    *,
    waiting: str = "",
    blocks: tuple[str, str] = BLOCKS,
) -> tuple[str, ...]:
    """Describe how far a command is: a line, and a second one while it waits.

    seconds: since this stage began. waiting: made by `describe_waiting`.
    """
    title, amount = (progress.dataset or progress.stage).capitalize(), _amount(progress)
    room = width - len(title) - len(amount) - 1
    fitting: dict[str, str] = {}
    for name, text in _by_importance(progress, seconds):
        if len(text) + 2 > room:  # nothing less important takes its place
            break
        fitting[name] = text
        room -= len(text) + 2
    begin = " ".join(text for text in (title, _bar(progress, room - 1, blocks), amount) if text)
    line = "  ".join((begin, *(fitting[name] for name in _ORDER if name in fitting)))
    lines = (line, f"  {waiting}") if waiting else (line,)
    return tuple(text[:width] for text in lines)


def describe_waiting(reason: str, seconds: float) -> str:
    """Say how long a command still waits, and why. The reason may be text of others."""
    return f"waiting {clock_time(seconds)}: {printable(reason)}"


def _amount(progress: Progress) -> str:
    match progress.stage:
        case Stage.STARTING | Stage.WRITING:
            return ""
        case Stage.VERIFYING:
            done, total = size_in_words(progress.done), size_in_words(progress.total)
            return f"{done} of {total}" if progress.total else done
        case Stage.CONVERTING:
            return f"{progress.done:,}/{progress.total:,} rows"
        case Stage.RECORDS:
            total = f"/{progress.total:,}" if progress.total else " so far"
            return f"{progress.done:,}{total}"
        case _:
            total = f"/{progress.total:,} runs" if progress.total else " runs so far"
            return f"{progress.done:,}{total}"


def _by_importance(progress: Progress, seconds: float) -> Iterator[tuple[str, str]]:
    trouble = ((progress.failed, "failed"), (progress.short, "short"))
    if progress.failed or progress.short:
        yield "trouble", ", ".join(f"{number:,} {what}" for number, what in trouble if number)
    rated = seconds >= 1 and progress.done and progress.stage != Stage.WRITING
    if rated and 0 < progress.done < progress.total:
        yield "left", f"{clock_time(seconds * (progress.total / progress.done - 1))} left"
    elif seconds >= 1:
        yield "left", clock_time(seconds)
    if progress.rows:
        yield "rows", f"{progress.rows:,} rows"
    if progress.bytes:
        yield "bytes", f"{size_in_words(progress.bytes)} of files"
    if rated and progress.stage == Stage.VERIFYING:
        yield "rate", f"{size_in_words(int(progress.done / seconds))}/s"
    elif rated:
        what = _RATES.get(progress.stage, " runs/s")
        yield "rate", f"{progress.done / seconds:,.1f}{what}"


def _bar(progress: Progress, room: int, blocks: tuple[str, str]) -> str:
    if not progress.total or progress.stage == Stage.WRITING or room < LEAST_BAR:
        return ""
    width = min(room, MOST_BAR)
    done = width * min(progress.done, progress.total) // progress.total
    return blocks[0] * done + blocks[1] * (width - done)
