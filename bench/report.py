"""The figures as a page for people: a table for each part, behind the plot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from bench.figures import Figure, Results

OURS = "jupyterbox"
LINE = 100

PARTS = {
    "fresh": (
        "A fresh deploy",
        "Each run has boxes of its own, fresh from their installation, with every cache empty. "
        "`article` is [the article's own commands](../tests/box/article.sh) in the form in which "
        "they still work; it ends when the hub's unit is started, ours when the hub answers. "
        "`floor` is [the same tools called by hand in the best order](../bench/floor.sh): no "
        "solve, no check, nothing started. `hub and proxy` is deployed to a box on which the "
        "environment has been made already, as by the article; its parts are ours. `everything` "
        "is the whole demo box with its two environments; of that, too, the parts are ours.",
    ),
    "noop": (
        "A deploy that has nothing to do",
        "Deploy (`-y`) and plan (`--dry`; Ansible's is `--check`) of a box that is as declared, "
        "through a relay that adds half of the round-trip time each way. `ansible` is "
        "[a playbook](../bench/ansible/playbook.yml) for the same box, of stock modules, with "
        "pipelining, ControlPersist and no gathering of facts; it asks for less than a deploy "
        "does. Each run begins without a connection. Remote commands are what the box's sshd has "
        "counted, bytes what the relay has, both directions together.",
    ),
    "change": (
        "A change",
        "On a box with ten environments. `conda create` and `conda install` are conda itself, "
        "called by hand on the box for the same package: the one makes the environment anew beside "
        "the old one, as a deploy does, the other changes a copy of it where it is.",
    ),
    "growth": (
        "Growth",
        "A deploy that has nothing to do, of boxes with more in them, and of more boxes. The boxes "
        "share this machine's cores with each other and with pyinfra.",
    ),
    "start": (
        "The start of a user's server",
        "In a browser: from the click on *Start My Server* until the launcher shows the kernels. "
        "Memory is what the user's processes have to themselves and their part of what they share "
        "(PSS), with the lab open and nothing running.",
    ),
}

NOTES = """\
Medians of all runs with their ranges, by `make bench`: one machine, each part in one run, on demo
boxes that are made for it. The raw values are in [bench.json](bench.json). What stands behind a
median of another's is how often ours goes into it.
"""


def number(value: float) -> str:
    """A value, with as many digits as tell something."""
    if (value == int(value) and abs(value) >= 10) or value == 0:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def shown(figure: Figure, ours: Figure | None = None) -> str:
    """A median with its range, and how many times ours it is."""
    low, high = figure.range
    text = number(figure.median)
    if low != high:
        text += f" ({number(low)}-{number(high)})"
    if ours and ours is not figure and ours.median:
        text += f", {number(figure.median / ours.median)}x"
    return text


def columns(figures: Iterable[Figure]) -> list[str]:
    """Who has figures, ours first."""
    names = dict.fromkeys(figure.who for figure in figures)
    return sorted(names, key=lambda name: name != OURS)


def table(figures: Sequence[Figure]) -> Iterator[str]:
    """The lines of a Markdown table of one part's figures: a row a thing, a column a tool."""
    names = columns(figures)
    rows: dict[tuple[str, str], dict[str, Figure]] = {}
    for figure in figures:
        rows.setdefault((figure.what, figure.unit), {})[figure.who] = figure
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for (what, unit), row in rows.items():
        cells = [shown(row[name], row.get(OURS)) if name in row else "" for name in names]
        yield f"| {what}, {unit} | {' | '.join(cells)} |"


def page(results: Results) -> str:
    """The whole page."""
    lines = ["# Figures", "", NOTES, *about(results), "", "![plot](bench.svg)", ""]
    for part, (title, text) in PARTS.items():
        figures = [figure for figure in results.figures if figure.part == part]
        if figures:
            # What is computed from the others' medians has one value.
            runs = max(len(figure.values) for figure in figures)
            day = results.taken[part]
            lines += [f"## {title}", "", *lines_of(text), ""]
            lines += [*table(figures), "", f"{runs} run{'s' * (runs != 1)} on {day}.", ""]
    return "\n".join(lines)


def lines_of(text: str) -> list[str]:
    """A paragraph's lines; words with hyphens stay whole."""
    return wrap(text, LINE, break_on_hyphens=False, break_long_words=False)


def about(results: Results) -> Iterator[str]:
    """The machine, in a line."""
    of = results.machine
    if of:
        yield from lines_of(
            f"The machine: {of['cores']} cores, {of['memory']} of memory, {of['system']}, "
            f"{of['kernel']}, Python {of['python']}. Conda: {of['conda']}."
        )
