"""The benchmarks' figures: medians and ranges, table, plot, and a part in another's place."""

from __future__ import annotations

import socket
from pathlib import Path
from xml.etree import ElementTree

from bench.figures import Figure, Results, Runs, machine, slope
from bench.plot import plot
from bench.report import number, page, shown, table

OURS = Figure("noop", "deploy at 20 ms", "jupyterbox", "s", [2.1, 1.9, 2.0, 2.4, 1.8])
THEIRS = Figure("noop", "deploy at 20 ms", "ansible", "s", [20.0, 16.0, 18.0])
COUNT = Figure("noop", "deploy at 20 ms", "jupyterbox", "remote commands", [44, 44])
MACHINE = {
    "cores": "2",
    "memory": "8 GB",
    "system": "Debian 13",
    "kernel": "Linux 6.12",
    "python": "3.13.5",
    "conda": "Miniforge's",
}


def results(*figures: Figure) -> Results:
    """Of one machine and one day."""
    return Results(MACHINE, {figure.part: "2026-11-24" for figure in figures}, [*figures])


def test_the_median_is_the_middle_one_and_the_range_from_end_to_end() -> None:
    assert (OURS.median, OURS.range) == (2.0, (1.8, 2.4))
    assert COUNT.median == 44


def test_a_figure_is_shown_with_its_range_and_how_often_ours_goes_into_it() -> None:
    assert shown(OURS, OURS) == "2 (1.8-2.4)"
    assert shown(THEIRS, OURS) == "18 (16-20), 9x"
    assert shown(COUNT) == "44"
    assert [number(n) for n in (0, 0.01234, 1.0, 44.0, 123.4, 98765.4)] == [
        "0",
        "0.0123",
        "1",
        "44",
        "123",
        "98765",
    ]


def test_the_table_has_a_row_a_thing_and_ours_first() -> None:
    assert [*table([THEIRS, OURS, COUNT])] == [
        "| | jupyterbox | ansible |",
        "|---|---|---|",
        "| deploy at 20 ms, s | 2 (1.8-2.4) | 18 (16-20), 9x |",
        "| deploy at 20 ms, remote commands | 44 |  |",
    ]


def test_the_page_has_a_section_for_each_part_that_was_measured() -> None:
    text = page(results(OURS, THEIRS))
    assert "## A deploy that has nothing to do" in text
    assert "## Growth" not in text
    assert "2 cores, 8 GB of memory, Debian 13, Linux 6.12, Python 3.13.5. Conda" in text
    assert "5 runs on 2026-11-24." in text


def test_the_plot_has_a_bar_a_median_in_seconds() -> None:
    drawn = ElementTree.fromstring(plot(results(OURS, THEIRS, COUNT)))
    [_, first, second] = [
        bar
        for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if bar.get("height") not in ("10", "10.0")
    ]
    widths = [float(bar.attrib["width"]) for bar in (first, second)]
    assert abs(widths[1] / widths[0] - 9) < 0.01
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"jupyterbox", "ansible", "deploy at 20 ms", "2", "18"} <= {*words}


def test_a_part_takes_the_place_of_its_former_self(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    other = Figure("start", "click to lab", "jupyterbox", "s", [3.0])
    before = results(OURS, other)
    before.replace("noop", [COUNT], "2026-11-25")
    before.save(path)
    after = Results.load(path)
    assert after == before
    assert after.figures == [other, COUNT]
    assert after.taken == {"noop": "2026-11-25", "start": "2026-11-24"}
    assert Results.load(tmp_path / "none.json").figures == []


def test_runs_gather_the_values_of_each_thing() -> None:
    runs = Runs("noop")
    for value in (1.0, 2.0):
        runs.add("deploy", "jupyterbox", "s", value)
        runs.add("deploy", "ansible", "s", value * 9)
    assert runs.figures() == [
        Figure("noop", "deploy", "jupyterbox", "s", [1.0, 2.0]),
        Figure("noop", "deploy", "ansible", "s", [9.0, 18.0]),
    ]


def test_growth_is_a_slope() -> None:
    assert abs(slope([(1, 1.01), (10, 1.1), (50, 1.5)]) - 0.01) < 1e-9


def test_the_machine_is_described_without_its_name() -> None:
    assert {*machine("Miniforge's")} == {*MACHINE}
    assert socket.gethostname() not in machine("x").values()
