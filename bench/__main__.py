"""Measure, and renew docs/bench.md: `python -m bench`, or `python -m bench noop` for one part.

Each part makes the demo boxes that it needs, and removes them. What it has found takes the place
of what was known of that part, as soon as it is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import click

from bench import change, fresh, growth, noop, plot, report, start
from bench.figures import Results, machine
from jupyterbox.demo.host import ensure_host_packages, require_root
from jupyterbox.demo.root import RELEASES
from jupyterbox.demo.steps import Steps
from jupyterbox.settings import REPOSITORY

PARTS = {part.PART: part for part in (fresh, noop, change, growth, start)}


class Numbers(click.ParamType[Sequence[int]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(
        self, value: str | Sequence[int], param: click.Parameter | None, ctx: click.Context | None
    ) -> Sequence[int]:
        """The numbers of `1,10,100`."""
        if not isinstance(value, str):
            return value
        try:
            return [int(number) for number in value.split(",") if number]
        except ValueError:
            self.fail(f"{value!r} is no list of numbers, like 1,10,100", param, ctx)


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--runs", default=5, show_default=True, help="How often each thing is measured.")
@click.option("--name", default="bench", show_default=True, help="What the demo boxes are called.")
@click.option("--release", type=click.Choice(RELEASES), default="trixie", show_default=True)
@click.option(
    "--to",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=REPOSITORY / "docs",
    help="Where bench.json, bench.md and bench.svg are.  [default: docs]",
)
@click.option("--users", type=Numbers(), default=growth.USERS, help="For growth.")
@click.option("--environments", type=Numbers(), default=growth.ENVIRONMENTS, help="For growth.")
@click.option("--boxes", type=Numbers(), default=growth.BOXES, help="For growth.")
def main(
    parts: Sequence[str],
    runs: int,
    name: str,
    release: str,
    to: Path,
    users: Sequence[int],
    environments: Sequence[int],
    boxes: Sequence[int],
) -> None:
    """Measure the parts that are named, or all of them."""
    require_root()
    say = Steps()
    ensure_host_packages(say)
    for part in parts or PARTS:
        say(f"measuring {part}")
        counts = (users, environments, boxes) if part == growth.PART else ()
        conda, figures = PARTS[part].measure(name, release, runs, *counts)
        results = Results.load(to / "bench.json")
        results.machine = machine(conda)
        results.replace(part, figures, date.today().isoformat())
        results.save(to / "bench.json")
        (to / "bench.md").write_text(report.page(results))
        (to / "bench.svg").write_text(plot.plot(results))
    say("done")


if __name__ == "__main__":
    main()
