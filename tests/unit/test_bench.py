"""The benchmarks' programs where they need no box: what is counted, declared and told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.boxes import Settings, Step
from bench.change import changed, with_environments
from bench.figures import Runs
from bench.fresh import OURS_OF_IT, PARTS, layers
from bench.growth import slopes, with_users
from bench.noop import changes, planned
from bench.playbook import HERE, variables
from jupyterbox.settings import REPOSITORY, Box

SETTINGS: Settings = {
    "hub": {"port": 8000},
    "environments": [
        {"name": "python3", "conda": ["python=3.13", "ipykernel", "pip"]},
        {"name": "anaconda3", "conda": ["python=3.13", "numpy"]},
    ],
    "users": [{"name": "demo", "password_hash": "$6$salt$hash"}],
}

DEPLOY = """\
from pyinfra.operations import server

server.shell(name="One", commands=["true", "true"])
server.shell(name="Two", commands=["true"])
"""


def test_each_operation_is_written_down_in_its_turn(tmp_path: Path) -> None:
    (tmp_path / "deploy.py").write_text(DEPLOY)
    record = tmp_path / "record"
    counting = [sys.executable, "-m", "bench.counting", str(record)]
    run = subprocess.run(
        [*counting, "-y", "@fake/box", str(tmp_path / "deploy.py")],
        cwd=REPOSITORY,
        env={"PYINFRA_FAKE_DELAY": "0", "PYINFRA_FAKE_DELAY_JITTER": "0", "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    steps = [Step(**json.loads(line)) for line in record.read_text().splitlines()]
    assert [step.name for step in steps] == ["(plan)", "One", "Two"]


def test_operations_are_counted_to_the_layers_that_are_asked_for() -> None:
    spent = [
        Step("(plan)", 1, 0),
        Step("Preflight: can this box become what is declared?", 2, 12),
        Step("Packages | Install the base packages", 4, 1),
        Step("Packages | Trust the site's authorities", 8, 1),
        Step("Conda | Install conda into /opt/conda", 16, 1),
        Step("Build releases side by side, where several are missing", 32, 1),
        Step("Hub release | Build the hub's release", 64, 1),
        Step("Health: does the hub answer through the proxy?", 128, 1),
    ]
    assert layers(spent, PARTS) == {
        "- preflight": 2,
        "- the system's packages": 4 + 8,
        "- the hub's release": 64,
        "- configuration and units": 0,
        "- until it answers": 128,
    }
    assert list(layers(spent, OURS_OF_IT).values()) == [4 + 8, 16, 32]


@pytest.mark.parametrize(("cells", "count"), [("24  -  -  24", 0), ("24  3  -  21", 3)])
def test_what_a_run_has_changed_is_read_from_its_table(cells: str, count: int) -> None:
    head = "    Operation    Hosts   Success   Error   No Change"
    said = f"--> Results:\n{head}\n    Grand total  {cells}\n\n--> Disconnecting from hosts..."
    assert changes(said) == count


def test_what_a_plan_would_change_is_read_from_its_table() -> None:
    unchanged = "    Packages | Install the base packages   -           -"
    changed = "    Hub service | Run proxy and hub        1 (bench)   -"
    assert planned(f"{unchanged}\n{changed}\n", "bench") == [changed]
    assert planned(unchanged, "bench") == []


def test_a_change_is_of_one_environment_and_leaves_the_settings_as_they_were() -> None:
    ten = with_environments(SETTINGS, 10)
    text = json.dumps(ten)
    other = changed(ten, 2, ["python=3.13", "ipywidgets"])
    assert json.dumps(ten) == text
    both = zip(ten["environments"], other["environments"], strict=True)
    differ = [before["name"] for before, after in both if before != after]
    assert differ == ["env02"]
    assert len(Box(**ten).environments) == 10


def test_so_many_users_are_declared() -> None:
    names = [user.name for user in Box(**with_users(SETTINGS, 100)).users]
    assert (len({*names}), names[-1]) == (100, "user099")


def test_growth_is_told_for_each_one_more() -> None:
    found = Runs("growth")
    for count in (1, 10):
        found.add(f"users: {count}", "jupyterbox", "s", 2 + count / 100)
        found.add(f"users: {count}", "jupyterbox", "remote commands", 12)
    [figure] = slopes(found, "user", [1, 10])
    assert (figure.what, figure.unit) == ("for each user more", "ms")
    assert abs(figure.median - 10) < 1e-6
    assert slopes(found, "user", [1]) == []


def test_the_playbook_is_told_the_same_settings() -> None:
    told = variables(Box(**SETTINGS))
    assert told["hub"]["port"] == 8000
    assert [one["name"] for one in told["environments"]] == ["python3", "anaconda3"]
    assert told["environments"][1]["packages"] == ["python=3.13", "numpy"]
    assert told["users"] == [{"name": "demo", "password_hash": "$6$salt$hash"}]
    assert told["layout"]["STATE"] == "/var/lib/jupyterhub"
    json.dumps(told)


def test_the_playbook_has_stock_modules_alone() -> None:
    [play] = yaml.safe_load((HERE / "playbook.yml").read_text())
    tasks = [*play["tasks"], *play["handlers"]]
    tasks += [inner for task in tasks for inner in task.get("block", [])]
    modules = {key for task in tasks for key in task if "." in key}
    assert len(modules) > 8
    assert all(module.startswith("ansible.builtin.") for module in modules)
