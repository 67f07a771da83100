"""Facts of the hub on a real box: who uses it, what went astray, what is broken."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterbox import layout
from tests.box.conftest import Operator
from tests.box.test_d_facts import asked, problems
from tests.box.user import User, wait_for

pytestmark = pytest.mark.once

UNIT = "jupyter-ada-singleuser.service"
HUB, ACTIVITY = "facts.hub.Hub", "facts.hub.HubActivity"


def server_of(box: Operator, name: str) -> dict[str, Any]:
    """The one server of a user."""
    [server] = [s for s in asked(box, ACTIVITY)["servers"] if s["user"] == name]
    return dict(server)


def test_who_uses_the_hub_and_what_of_the_box(box: Operator, ada: User) -> None:
    group = f"/sys/fs/cgroup/system.slice/{UNIT}"
    with ada.kernel("python3") as kernel:
        ballast = 150
        kernel.execute(f"ballast = b'x' * ({ballast} << 20)")
        before = server_of(box, "ada")
        kernel.execute("sum(range(10**7))")
        server = server_of(box, "ada")
        release = box.sh("readlink -f /opt/conda/envs/python3").strip()
        assert server["kernels"] == [release]
        assert server["processes"] == len(box.sh(f"cat {group}/cgroup.procs").split())
        # systemd's own account of the same unit.
        used = int(box.sh(f"systemctl show -p CPUUsageNSec --value {UNIT}")) / 10**9
        # Told to a hundredth.
        assert before["cpu_seconds"] < server["cpu_seconds"] <= used + 0.01
        assert ballast < server["memory_mb"]
    assert (server["unit"], server["known"], server["state"]) == (UNIT, True, "active (running)")
    started = box.sh(f'date -u +%FT%T+00:00 -d "$(systemctl show -P ActiveEnterTimestamp {UNIT})"')
    assert server["since"] == started.strip()
    found = asked(box, ACTIVITY, user="ops")
    assert found["users"]["ada"]["admin"] is False
    assert found["total"]["servers"] == len(found["servers"])
    assert found["problems"] == []


def test_no_token_is_told(box: Operator, ada: User) -> None:
    environ = box.sh(f"cat /proc/{box.main_pid(UNIT)}/environ").split("\0")
    environ += box.sh(f"cat {layout.PROXY_ENVIRONMENT}").splitlines()
    named = [line.partition("=") for line in environ]
    tokens = {value for name, _, value in named if "TOKEN" in name or "SECRET" in name}
    tokens |= {box.sh(f"cat {layout.COOKIE_SECRET}").strip()}
    tokens |= {cookie.value or "" for cookie in ada.cookies}
    assert len(tokens) > 4
    said = str([asked(box, HUB), asked(box, ACTIVITY)])
    assert not [token for token in tokens if token in said]


@pytest.mark.parametrize("fact", [HUB, ACTIVITY])
def test_what_is_roots_is_not_half_told(box: Operator, fact: str) -> None:
    run = box.pyinfra("--json", "--data", "_sudo=false", "fact", fact, user="ops")
    assert "can only be read by root: run this fact with _sudo=true." in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


LONG_AGO = f"""/usr/bin/python3 -c '
import sqlite3
with sqlite3.connect("{layout.DATABASE}") as database:
    database.execute("UPDATE spawners SET started = \\"2026-01-01 00:00:00.000000\\"")'"""


def test_units_and_servers_that_have_lost_each_other(box: Operator, ada: User) -> None:
    stray = "jupyter-nobody-singleuser.service"
    box.sh(f"systemd-run --quiet --unit={stray} --uid=nobody sleep 600")
    # One that has just been started may not be there yet.
    box.sh(f"systemctl stop {layout.HUB_UNIT}; systemctl stop {UNIT}; {LONG_AGO}")
    try:
        found = problems(asked(box, ACTIVITY))
        assert f"{stray} runs, and the hub does not know it" in found
        assert f"the hub believes that ada has a server, and {UNIT} is not running" in found
    finally:
        # As the cures say.
        box.sh(f"systemctl stop {stray}; systemctl start {layout.HUB_UNIT}")
    wait_for(lambda: problems(asked(box, ACTIVITY)) == "", "a hub that has found out")
    wait_for(lambda: ada.fetch(f"{ada.hub}/hub/home")[0] == 200, "the hub")


@pytest.mark.parametrize("damage", [": >", "echo hello >", "rm", "rm {0}; mkfifo"])
def test_a_damaged_database_is_named(box: Operator, ada: User, damage: str) -> None:
    path = layout.DATABASE
    box.sh(f"cp -p {path} {path}.aside")
    try:
        box.sh(f"{damage.format(path)} {path}")
        found = asked(box, ACTIVITY)
        assert problems(found).startswith(f"{path} ")
        assert found["users"] == {}
    finally:
        box.sh(f"rm -f {path}; mv {path}.aside {path}")
        # One that holds on to the file it has opened would not write to this one; and one that has
        # yet to open it would make another, in the middle of the next test.
        box.sh(f"systemctl restart {layout.HUB_UNIT}")
        wait_for(lambda: ada.fetch(f"{ada.hub}/hub/home")[0] == 200, "the hub")
    assert problems(asked(box, ACTIVITY)) == ""


def test_what_is_broken_is_named_and_the_next_deploy_mends_it(restored: Operator) -> None:
    box = restored
    mine = f"{layout.CONFIG_D}/10-mine.py"
    box.sh(f"printf 'c.JupyterHub.no_such = 1\\n' > {mine}; systemctl restart {layout.HUB_UNIT}")
    wait_for(lambda: "no_such" in problems(asked(box, HUB)), "a hub that does not recognize it")
    [error] = asked(box, HUB)["configuration"]
    assert (error["file"], error["line"]) == (mine, 1)

    box.sh(
        f"""printf 'x = 1\\nc.JupyterHub.port = (' > {mine}
        mkdir {layout.RELEASES}/0123456789ab; chmod 644 {layout.COOKIE_SECRET}
        systemctl disable --quiet {layout.PROXY_UNIT}
        systemctl restart {layout.HUB_UNIT}"""
    )
    wait_for(lambda: asked(box, HUB)["units"][layout.HUB_UNIT]["errors"] != [], "its end")
    found = asked(box, HUB)
    named = problems(found)
    assert f"{mine}, line 2: SyntaxError: '(' was never closed." in named
    assert f"{layout.RELEASES}/0123456789ab is incomplete" in named
    assert f"{layout.COOKIE_SECRET} is open to others than root: its mode is 644." in named
    assert f"{layout.PROXY_UNIT} is not enabled" in named
    assert found["units"][layout.HUB_UNIT]["failing"]
    assert found["units"][layout.PROXY_UNIT]["active"]

    # The two that only people can mend.
    box.sh(f"rm {mine}; rmdir {layout.RELEASES}/0123456789ab")
    box.deploy()
    assert problems(asked(box, HUB)) == ""
