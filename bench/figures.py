"""What was measured: figures with their medians and ranges, kept as JSON, a part at a time."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One thing measured several times.

    Args:
        part: of the benchmarks, such as `noop`.
        what: was measured.
        who: did it: `jupyterbox`, or what it is compared with.
        unit: of the values: `s`, `MB`, or what is counted.
        values: one for each run.
    """

    part: str
    what: str
    who: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """The middle one, or half way between the two in the middle."""
        return statistics.median(self.values)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest."""
        return min(self.values), max(self.values)


@dataclass
class Results:
    """The figures of all parts, and the machine and the day that they are of.

    Args:
        machine: in general terms.
        taken: the day on which each part was measured.
        figures: of all parts.
    """

    machine: dict[str, str]
    taken: dict[str, str]
    figures: list[Figure]

    @classmethod
    def load(cls, path: Path) -> Results:
        """Those of before; none where there are none."""
        if not path.exists():
            return cls({}, {}, [])
        known: dict[str, Any] = json.loads(path.read_text())
        return cls(known["machine"], known["taken"], [Figure(**one) for one in known["figures"]])

    def replace(self, part: str, figures: Iterable[Figure], day: str) -> None:
        """Put a part's new figures in the place of its old ones."""
        others = [figure for figure in self.figures if figure.part != part]
        self.figures = [*others, *figures]
        self.taken[part] = day

    def save(self, path: Path) -> None:
        """Write them down."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


class Runs:
    """Collects the values of one part, in the order in which things were first measured.

    Args:
        part: its name.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self._values: dict[tuple[str, str, str], list[float]] = {}

    def add(self, what: str, who: str, unit: str, value: float) -> None:
        """Add one run's value, and show it."""
        self._values.setdefault((what, who, unit), []).append(round(value, 4))
        print(f"  {self.part}: {what}, {who}: {value:.4g} {unit}", flush=True)

    def figures(self) -> list[Figure]:
        """All of them."""
        return [Figure(self.part, *of, values) for of, values in self._values.items()]


def machine(conda: str) -> dict[str, str]:
    """This machine in general terms, as a reader needs it to make sense of the figures.

    Args:
        conda: which one the boxes have.
    """
    system = platform.freedesktop_os_release()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GB",
        "system": f"{system['NAME']} {system.get('VERSION_ID', '')}".strip(),
        "kernel": "Linux " + ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "conda": conda,
    }


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the second of each pair grows with the first, by least squares."""
    (xs, ys) = zip(*points, strict=True)
    return statistics.linear_regression(xs, ys).slope
