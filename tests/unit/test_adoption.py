"""Adoption: what of a box that was made by hand is taken over, and what is refused and told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.by_hand import ByHand
from jupyterbox import layout
from jupyterbox.settings import Box, Hub
from operations import adoption, environments, jupyter, preflight
from operations.hub import rendered
from tests.unit.box import DEPLOYED, PYTHON3, PYTHON3_ID, converged, hub_state, state
from tests.unit.engine import fact, plan, programs, run

UNIT = "/etc/systemd/system/jupyterhub.service"
BIN = "ln -sfn current/bin /opt/jupyterhub/.bin.new && mv -T /opt/jupyterhub/.bin.new "
BIN += "/opt/jupyterhub/bin"


def hub(**changes: Any) -> dict[str, Any]:
    """The article's hub, as it is found."""
    return {
        "taken_over": False,
        "venv": True,
        "unit": UNIT,
        "overridden": None,
        "config": "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py",
        "database": "/jupyterhub.sqlite",
        "cookie_secret": "/jupyterhub_cookie_secret",
        "proxy_pid": "/jupyterhub-proxy.pid",
        "users": ["ada", "bob"],
        "servers": [],
        "sets": [{"option": "Spawner.default_url", "line": 3200, "value": "/lab"}],
        "elsewhere": None,
        "misses": None,
        "other_database": None,
        **changes,
    }


def sets(option: str, value: str | None = None) -> list[dict[str, Any]]:
    """A configuration with one option."""
    return [{"option": option, "line": 7, "value": value}]


def by_hand(found: dict[str, Any] | None, commands: bool = False) -> dict[Any, Any]:
    """What the fact says."""
    return programs(by_hand={"hub": found, "commands": commands})


# --- the hub ---


def test_no_hub_was_made_by_hand() -> None:
    assert fact(ByHand) == {"hub": None, "commands": False}
    assert run(adoption.take_over, DEPLOYED, says=by_hand(None)) == [BIN]
    assert run(adoption.take_over, DEPLOYED, says=by_hand(None, commands=True)) == []


@pytest.mark.parametrize(("adopt", "even"), [(None, False), ("no", False), ("yes", True)])
def test_the_new_hub_is_laid_out_and_checked_before_the_old_one_stops(
    adopt: str | None, even: bool
) -> None:
    first, *puts, load, takeover, last = run(
        adoption.take_over, DEPLOYED, adopt, says=by_hand(hub())
    )
    waiting = "/var/lib/jupyterhub/adopting"
    assert first == (
        "mkdir -p -m 700 /var/lib/jupyterhub && chmod 700 /var/lib/jupyterhub "
        f"&& mkdir -p {waiting}"
    )
    assert {content for _, _, content in puts} == {*rendered(DEPLOYED).values()}
    assert all(path.startswith(f"{waiting}/") for _, path, _ in puts)
    assert load[0] == "/opt/jupyterhub/current/bin/python load_config"
    assert load[1]["path"] == f"{waiting}/jupyterhub_config.py"
    assert (takeover[0], takeover[1]["insisted"]) == ("adopt", even)
    assert takeover[1]["files"] == {
        path: f"{waiting}/{path.rpartition('/')[2]}" for path in rendered(DEPLOYED)
    }
    assert len({*takeover[1]["files"].values()}) == len(rendered(DEPLOYED))
    assert takeover[1]["kept"] == layout.BY_HAND
    assert last == f"rm -rf {waiting}"


# --- preflight ---


def problems(found: dict[str, Any], box: Box = DEPLOYED, adopt: str | None = None) -> list[str]:
    """What preflight says of a box with this hub."""
    return list(adoption.problems(box, found, adopt))  # type: ignore[arg-type]


def refused(box: Box, says: dict[Any, Any]) -> list[str]:
    """The problems that a whole preflight lists."""
    with pytest.raises(OperationError) as caught:
        plan(preflight.check, box, says=says)
    return str(caught.value).split("\n  - ")[1:]


def test_a_hub_that_can_be_taken_over() -> None:
    assert problems(hub()) == []


def test_preflight_asks_for_it() -> None:
    found = {**hub_state(), "by_hand": hub(servers=["ada", "bob"])}
    assert refused(DEPLOYED, {**converged(), **programs(hub_state=found)}) == [
        "servers of ada, bob run in the hub that was made by hand, and would end with it, their "
        "kernels too: wait until they are stopped, or deploy with --data adopt=yes."
    ]


def test_servers_end_only_where_that_was_said() -> None:
    assert problems(hub(servers=["ada"]), adopt="yes") == []
    # They are of the new hub's unit then.
    assert problems(hub(servers=["ada"], taken_over=True)) == []


def test_nobody_is_let_in_by_the_way() -> None:
    named = hub(sets=sets("Authenticator.allowed_users", "ada,bob"))
    assert problems(named) == [
        "the hub that was made by hand lets in ada,bob alone, and the settings let in any account "
        "of the box: say Hub(allowed_users=[...]), or deploy with --data adopt=yes."
    ]
    assert problems(named, adopt="yes") == []
    assert problems(named, Box(hub=Hub(allowed_users=["ada"]))) == []


def test_another_kind_of_hub_is_left_alone() -> None:
    assert problems(hub(venv=False, elsewhere="/opt/tljh/hub/bin/python3"), adopt="yes") == [
        f"{UNIT} was made by hand and starts /opt/tljh/hub/bin/python3, which is not the article's "
        "hub in /opt/jupyterhub: stop and disable it, and move its file away."
    ]


def test_a_database_that_is_no_file() -> None:
    config = "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py"
    found = hub(other_database=f"{config}, line 12", sets=[])
    assert problems(found) == [
        "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py, line 12, has the hub that was made "
        "by hand use a database that is no sqlite file: say the same in Hub(extra_config=...), and "
        "it stays where it is."
    ]
    says = Hub(extra_config="c.JupyterHub.db_url = 'postgresql://hub@db/hub'")
    assert problems(found, Box(hub=says)) == []


def test_a_hub_whose_users_would_not_move_over() -> None:
    found = hub(database=None, misses="/srv/jupyterhub.sqlite", users=[])
    assert problems(found) == [
        "the hub that was made by hand has no database at /srv/jupyterhub.sqlite, where it would "
        "have it by its unit and its configuration: say in that where it is "
        "(c.JupyterHub.db_url), or deploy with --data adopt=yes, and with none of its users."
    ]
    assert problems(found, adopt="yes") == []


def test_a_drop_in_must_not_start_the_old_hub_in_the_place_of_the_new_one() -> None:
    override = f"{UNIT}.d/override.conf"
    assert problems(hub(overridden=override), adopt="yes") == [
        f"{override} has the command of the hub that was made by hand, and would have the new one "
        f"start that: say it in {UNIT}, and remove it there."
    ]


# --- what is told ---


def told(found: dict[str, Any], box: Box = DEPLOYED) -> list[str]:
    return list(adoption.told(box, found))  # type: ignore[arg-type]


def test_the_plan_names_who_moves_over() -> None:
    assert told(hub(servers=["ada"])) == [
        "the hub that was made by hand is taken over, with 2 users (ada, bob), tokens and logins.",
        "its files are kept in /opt/jupyterhub-by-hand, with a README on how to go back.",
        "the servers of ada end with it, and their kernels.",
    ]
    assert told(hub(taken_over=True)) == [
        "what is left of the hub that was made by hand goes to /opt/jupyterhub-by-hand."
    ]


@pytest.mark.parametrize(
    ("option", "value", "advice"),
    [
        ("Spawner.default_url", "/tree", "it is said by Hub(default_url=...)."),
        ("Authenticator.admin_users", None, "it is said by Hub(admins=...)."),
        (
            "JupyterHub.services",
            None,
            "what shall stay goes into Hub(extra_config=...) or a file in "
            "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.d.",
        ),
    ],
)
def test_the_plan_names_each_option_that_is_not_carried_over(
    option: str, value: str | None, advice: str
) -> None:
    assert told(hub(sets=sets(option, value)))[2:] == [
        f"jupyterhub_config.py, line 7: {option} is not carried over: {advice}"
    ]


@pytest.mark.parametrize("option", ["JupyterHub.db_url", "Authenticator.allow_all"])
def test_the_plan_names_no_option_that_is(option: str) -> None:
    assert told(hub(sets=sets(option)))[2:] == []


# --- environments ---


def plain(lacks: list[str], used_by: list[str], complete: list[str] | None = None) -> Any:
    """A box whose python3 was made by hand."""
    found = state("conda/state-deployed")
    found["environments"]["python3"] = {
        "current": None,
        "previous": None,
        "plain": True,
        "complete": complete or [],
    }
    return {
        **converged(),
        **programs(conda_state=found, holding={"lacks": lacks, "used_by": used_by}),
    }


def built(says: Any, upgrade: bool = False) -> list[Any]:
    return run(environments.built, environment=PYTHON3, box=DEPLOYED, upgrade=upgrade, says=says)


def test_one_that_holds_what_is_declared_stays_as_it_is() -> None:
    says = plain([], ["python (process 4711, ada)"])
    assert built(says) == []
    assert not plan(preflight.check, DEPLOYED, says=says)


def test_a_release_takes_the_place_of_one_that_lacks_something() -> None:
    aside = ("set_aside", {"root": "/opt/conda", "name": "python3", "release": PYTHON3_ID})
    [(build, _), switch] = built(plain(["numpy>=2"], []))
    assert build.endswith("build_environment")
    assert switch == aside
    # A run that died has built it.
    assert built(plain(["numpy>=2"], [], complete=[PYTHON3_ID])) == [aside]
    # Nothing is lacking, and a fresh solve is asked for.
    assert built(plain([], [], complete=[PYTHON3_ID]), upgrade=True) == [aside]


def test_not_while_a_kernel_runs_from_it() -> None:
    says = plain(["numpy>=2"], ["python (process 4711, ada)"])
    sentence = (
        "/opt/conda/envs/python3 was made by hand, and a release would take its place (it lacks "
        "numpy>=2): python (process 4711, ada) would import the rest of themselves from that. "
        "Deploy again when they have ended"
    )
    assert refused(DEPLOYED, says) == [f"{sentence}."]
    with pytest.raises(OperationError) as caught:
        plan(environments.built, environment=PYTHON3, box=DEPLOYED, says=says)
    assert str(caught.value) == sentence


def test_its_kernel_is_published_from_where_it_is() -> None:
    spec = {"argv": ["/opt/conda/envs/python3/bin/python", "-m", "ipykernel_launcher"]}
    found = {
        "published": {},
        "surplus": {},
        "offered": {
            "python3": {"prefix": "/opt/conda/envs/python3", "specs": {"python3": spec}},
        },
    }
    box = DEPLOYED.model_copy(update={"environments": [PYTHON3]})
    [(program, arguments)] = run(
        jupyter.kernelspecs, box, says=programs(kernelspec_state=json.loads(json.dumps(found)))
    )
    assert program == "publish_kernelspec"
    assert arguments["spec"]["argv"] == spec["argv"]
    assert arguments["spec"]["env"]["CONDA_PREFIX"] == "/opt/conda/envs/python3"
