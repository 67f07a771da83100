"""The figures in seconds as a plot: a panel for each part, a bar for each median and its range."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from bench.figures import Figure, Results
from bench.report import OURS, PARTS, columns, number

WIDTH, LEFT, RIGHT = 940, 390, 70
BAR, GAP, HEAD = 13, 9, 46
COLOURS = {OURS: "#f37726"}
OTHERS = ("#4e79a7", "#9aa5b1", "#59a14f")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}"
    ".title{font-weight:600;font-size:14px}.value{font-size:11px;fill:#57606a}"
)


def plot(results: Results) -> str:
    """An SVG document."""
    body: list[str] = []
    top = 10.0
    for part, (title, _) in PARTS.items():
        figures = [f for f in results.figures if f.part == part and f.unit == "s"]
        if figures:
            drawn, top = panel(title, figures, top)
            body += drawn
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:.0f}" role="img" '
            'aria-label="Medians in seconds, with ranges">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{top:.0f}" fill="#fff"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def panel(title: str, figures: Sequence[Figure], top: float) -> tuple[list[str], float]:
    """One part's bars, to a scale of their own; its elements, and where the next one begins."""
    names = columns(figures)
    rest = [name for name in names if name != OURS]
    colours = COLOURS | dict(zip(rest, OTHERS, strict=False))
    scale = (WIDTH - LEFT - RIGHT) / (max(figure.range[1] for figure in figures) or 1)
    drawn = [text(10, top + 18, f"{title}, seconds", "title"), *legend(names, colours, top + 18)]
    y = top + HEAD - GAP
    for what in dict.fromkeys(figure.what for figure in figures):
        row = [f for name in names for f in figures if f.what == what and f.who == name]
        drawn.append(text(LEFT - 8, y + len(row) * BAR / 2 + 4, what, anchor="end"))
        for figure in row:
            drawn += bar(figure, y, scale, colours[figure.who])
            y += BAR
        y += GAP
    return drawn, y + GAP


def legend(names: Sequence[str], colours: dict[str, str], y: float) -> Iterator[str]:
    """Whose bar has which colour."""
    x = float(LEFT)
    for name in names:
        yield f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colours[name]}"/>'
        yield text(x + 15, y, name)
        x += 100


def bar(figure: Figure, y: float, scale: float, colour: str) -> Iterator[str]:
    """A median, a line over its range, and the number behind it."""
    low, high = (LEFT + value * scale for value in figure.range)
    width, middle = figure.median * scale, y + BAR / 2
    yield (
        f'<rect x="{LEFT}" y="{y + 1:.1f}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>'
    )
    yield f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="#24292f" fill="none"/>'
    yield text(max(high, LEFT + width) + 5, middle + 4, number(figure.median), "value")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(content)}</text>'
