"""Releases that are missing are built at once, where there are several."""

from __future__ import annotations

from typing import Any

from jupyterbox import layout
from operations import side_by_side
from tests.unit.box import (
    ANACONDA3_ID,
    BARE,
    DEPLOYED,
    HUB_ID,
    PYTHON3_ID,
    hub_state,
    state,
)
from tests.unit.engine import Shown, first_line, programs, recorded, run
from tests.unit.test_conda import there

OTHER = "0123456789ab"


def built(hub: Any = None, conda: Any = None) -> list[Shown]:
    """What is built on a box that answers so; by default, one to which all is deployed."""
    answers = {
        "hub_state": hub or hub_state(),
        "conda_state": conda or state("conda/state-deployed"),
    }
    return run(side_by_side.build, box=DEPLOYED, says=programs(**answers))


def programs_of(commands: list[Shown]) -> list[tuple[str, str, str | None]]:
    """What is built at once: the program, the release, and the hub that it needs."""
    [at_once] = [command for command in commands if isinstance(command, list)]
    return [
        (name, arguments.get("id") or arguments["prefix"], arguments.get("hub"))
        for name, arguments in at_once
    ]


def test_a_bare_box_has_everything_built_at_once_by_the_hub_that_is_on_its_way() -> None:
    says = {first_line(name): recorded(recording) for name, recording in BARE.items()}
    made, *puts, at_once, cleared = run(side_by_side.build, box=DEPLOYED, says=says)
    hub = f"{layout.RELEASES}/{HUB_ID}"
    assert programs_of([at_once]) == [
        ("build_hub", hub, None),
        ("build_environment", PYTHON3_ID, hub),
        ("build_environment", ANACONDA3_ID, hub),
    ]
    assert made == f"mkdir -p /var/cache/jupyterbox/{HUB_ID}"
    assert {put[0] for put in puts} == {"put"}
    assert cleared == "rm -rf /var/cache/jupyterbox"


def test_a_box_that_has_them_has_nothing_built() -> None:
    assert built() == []


def test_one_alone_is_left_to_its_own_layer() -> None:
    assert built(conda=there(python3={"complete": [PYTHON3_ID]})) == []
    current = hub_state()["current"]
    assert built(hub={**hub_state(), "current": None, "releases": {}, "previous": current}) == []


def test_environments_of_a_hub_that_is_there_use_that() -> None:
    [at_once] = built(conda=there())
    assert programs_of([at_once]) == [
        ("build_environment", PYTHON3_ID, f"{layout.RELEASES}/{HUB_ID}"),
        ("build_environment", ANACONDA3_ID, f"{layout.RELEASES}/{HUB_ID}"),
    ]


def test_a_first_run_that_died_before_its_hub_was_current_is_gone_on_with() -> None:
    [at_once] = built(hub={**hub_state(), "current": None}, conda=there())
    assert {hub for _, _, hub in programs_of([at_once])} == {f"{layout.RELEASES}/{HUB_ID}"}


def test_what_was_made_by_hand_is_left_to_its_own_layer() -> None:
    assert built(conda=there(python3={"plain": True})) == []


def test_a_switch_that_was_cut_off_comes_before_the_hub_is_built() -> None:
    hub = {**hub_state(), "current": OTHER, "releases": {}, "switching": OTHER}
    assert built(hub=hub, conda=there()) == []
