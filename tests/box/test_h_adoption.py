"""A box that was made by hand from the article is taken over: same users, logins, kernels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from jupyterbox.demo.machine import Machine
from tests.box import article
from tests.box.conftest import Operator, Settings
from tests.box.machines import booted
from tests.box.test_g_restore import token_of, who_has
from tests.box.user import User, wait_for

pytestmark = [pytest.mark.once, pytest.mark.machine]

PROBLEM = re.compile(r"^(?: +\[127\.0\.0\.1\] - | +- )(.*)$", re.MULTILINE)
PLAIN = "/opt/conda/envs/stats"


def follow(machine: Machine) -> None:
    """Make the box as the article says."""
    article.trust(machine)
    command = article.command(machine, environment="stats")
    done = machine.run(command, input=article.ARTICLE.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def by_hand(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """A machine that somebody has made by hand, and who wants to be its operator."""
    name = f"{os.environ.get('JUPYTERBOX_TEST_BOX', 'test')}-article"
    with booted(name, pytestconfig.getoption("--release")) as machine:
        follow(machine)
        yield Operator(machine, tmp_path_factory.mktemp("operator"))


def declared(box: Operator, *more: str) -> Settings:
    """The settings that its new operator writes down: what is there, and perhaps more."""
    settings = box.settings()
    python3, _ = settings["environments"]
    stats = {"name": "stats", "title": "Statistics", "conda": [python3["conda"][0], "ipykernel"]}
    settings["environments"] = [python3, {**stats, "conda": [*stats["conda"], *more]}]
    return settings


def refused(box: Operator, settings: Settings) -> list[str]:
    """The problems that keep a deploy from doing anything."""
    run = box.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode == 1, run.stdout
    return PROBLEM.findall(run.stderr)


def prefix(user: User, name: str) -> str:
    """Where a new kernel runs from."""
    with user.kernel(name) as kernel:
        return kernel.execute("import sys; print(sys.prefix)")


def test_an_article_made_box_is_adopted(by_hand: Operator) -> None:
    box, settings = by_hand, declared(by_hand)
    ada = box.person("ada")
    ada.start_server()
    token = token_of(ada)
    with ada.kernel("stats") as kernel:
        kernel.execute("answer = 41")
        # Nobody's notebook dies because somebody deploys.
        [problem] = refused(box, settings)
        assert problem.startswith("servers of ada run in the hub that was made by hand, and would")
        assert kernel.execute("print(answer + 1)") == "42"
    ada.fetch(f"{ada.hub}/hub/api/users/ada/server", method="DELETE")
    wait_for(lambda: box.sh("pgrep -u ada", check=False) == "", "the end of ada's server")

    plan = box.pyinfra("--dry", "deploy.py", settings=settings)
    assert plan.returncode == 0, plan.stderr
    for line in ("is taken over, with 1 users (ada)", "kept in /opt/jupyterhub-by-hand"):
        assert line in plan.stderr + plan.stdout
    before = box.sh(f"stat -c %i {PLAIN}/conda-meta/history /opt/conda/conda-meta/history")
    box.deploy(settings)

    # The same browser and the same token, and no new login.
    assert ada.fetch(f"{ada.hub}/hub/home")[1] == f"{ada.hub}/hub/home"
    assert who_has(token, ada.hub) == "ada"
    ada.start_server()
    assert prefix(ada, "stats") == PLAIN
    assert prefix(ada, "python3").startswith("/opt/conda/releases/python3/")
    # Nothing was made again that was there, and nothing is lost, or open.
    assert box.sh(f"stat -c %i {PLAIN}/conda-meta/history /opt/conda/conda-meta/history") == before
    assert box.sh("ls /").count("jupyterhub") == 0
    assert box.sh("stat -c %a /opt/jupyterhub-by-hand /var/lib/jupyterhub").split() == ["700"] * 2
    kept = {"README", "bin", "lib", "etc", "kernels", "pyvenv.cfg", "jupyterhub.sqlite"}
    assert kept <= {*box.sh("ls /opt/jupyterhub-by-hand").split()}
    assert box.changed(settings) == []


def test_a_plain_environment_becomes_a_release_when_something_about_it_changes(
    by_hand: Operator,
) -> None:
    box, settings = by_hand, declared(by_hand, "ipywidgets")
    bob = box.person("bob")
    bob.start_server()
    with bob.kernel("stats") as kernel:
        [problem] = refused(box, settings)
        assert problem.startswith(f"{PLAIN} was made by hand, and a release would take its place")
        assert kernel.execute("import colorsys; print(colorsys.__file__)").startswith(PLAIN)
    wait_for(lambda: PLAIN not in box.sh("ps -eo args"), "the end of bob's kernel")
    box.deploy(settings)
    assert prefix(bob, "stats").startswith("/opt/conda/releases/stats/")
    assert box.sh("ls /opt/conda/by-hand") == "stats\n"
    assert box.changed(settings) == []
