"""Draw how many times faster than 3.0.3 this tool is, as an SVG that needs no library.

It has no background. Its grey can be read on a light and on a dark page, and where the viewer
knows which it is, there is more contrast.
"""

from __future__ import annotations

from math import ceil, log10
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.goals import compared, describe

if TYPE_CHECKING:
    from benchmarks.results import Results

WIDTH = 860
LEFT, RIGHT = 330, 70
TOP, BOTTOM = 62, 48
BAR, STRIDE = 20, 34

STYLE = """
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }
  text { fill: #7d8590; }
  .title { font-size: 15px; font-weight: 600; }
  .value { font-weight: 600; }
  .small { font-size: 11.5px; }
  .grid { stroke: #8c959f; stroke-opacity: 0.35; }
  .bar { fill: #2f81f7; }
  .goal { stroke: #d29922; stroke-width: 3; }
  @media (prefers-color-scheme: light) {
    text { fill: #57606a; }
    .title, .value { fill: #1f2328; }
  }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1; }
    .title, .value { fill: #f0f6fc; }
  }
"""


class _Scale:
    """A logarithmic axis from 1 to the next power of ten."""

    def __init__(self, most: float) -> None:
        self.decades = max(1, ceil(log10(most * 1.05)))

    def x(self, ratio: float) -> float:
        share = log10(max(1.0, ratio)) / self.decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> list[int]:
        every = [10**power * digit for power in range(self.decades) for digit in (1, 2, 5)]
        return [*every, 10**self.decades]


def draw(results: Results) -> str | None:
    """Return the chart, None where the two tools were not compared."""
    bars = [
        (describe(speed.work, ours).replace("`", ""), theirs.seconds / ours.seconds, speed.times)
        for speed, ours, theirs in compared(results)
    ]
    if not bars:
        return None
    scale = _Scale(max(max(ratio, goal) for _, ratio, goal in bars))
    height = TOP + STRIDE * len(bars) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">',
        "<title>How many times faster than dr-wandb 3.0.3</title>",
        f"<style>{STYLE}</style>",
        '<text x="8" y="24" class="title">How many times faster than dr-wandb 3.0.3</text>',
        *_legend(results, height),
        *_grid(scale, height - BOTTOM),
    ]
    for index, (label, ratio, goal) in enumerate(bars):
        parts += _bar(scale, TOP + STRIDE * index, label, ratio, goal)
    return "\n".join([*parts, "</svg>", ""])


def _legend(results: Results, height: int) -> list[str]:
    y = height - 14
    place = f"{results.date}, {results.machine['processor']}"
    return [
        f'<line x1="{LEFT}" y1="{y - 10}" x2="{LEFT}" y2="{y + 2}" class="goal"/>',
        f'<text x="{LEFT + 8}" y="{y}" class="small">goal; the axis is logarithmic</text>',
        f'<text x="{WIDTH - 8}" y="{y}" text-anchor="end" class="small">{escape(place)}</text>',
    ]


def _grid(scale: _Scale, bottom: int) -> list[str]:
    parts = []
    for tick in scale.ticks():
        x = scale.x(tick)
        parts += [
            f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" class="grid"/>',
            f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle" class="small">{tick}×</text>',
        ]
    return parts


def _bar(scale: _Scale, top: int, label: str, ratio: float, goal: float) -> list[str]:
    end, mark, middle = scale.x(ratio), scale.x(goal), top + BAR // 2 + 5
    value = f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"
    lines = _broken(label)
    first = middle if len(lines) == 1 else middle - 7
    return [
        *(
            f'<text x="{LEFT - 10}" y="{first + 14 * at}" text-anchor="end" class="small">'
            f"{escape(line)}</text>"
            for at, line in enumerate(lines)
        ),
        f'<rect x="{LEFT}" y="{top}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" rx="3"'
        ' class="bar"/>',
        f'<line x1="{mark:.1f}" y1="{top - 3}" x2="{mark:.1f}" y2="{top + BAR + 3}" class="goal"/>',
        f'<text x="{max(end, mark) + 8:.1f}" y="{middle}" class="value">{value}</text>',
    ]


def _broken(label: str) -> list[str]:
    """Break a long label at the comma next to its middle."""
    commas = [at for at, letter in enumerate(label) if label[at : at + 2] == ", "]
    if len(label) <= 46 or not commas:
        return [label]
    at = min(commas, key=lambda comma: abs(comma - len(label) / 2))
    return [label[: at + 1], label[at + 2 :]]
