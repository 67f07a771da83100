"""The whole deploy through the real pyinfra, on a box that is not there.

Every template renders and every argument fits, whatever is declared; the layers come in the
article's order; and a box that is not ready is told so in words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterbox.checks import Setting
from jupyterbox.settings import REPOSITORY, Box, Conda, Gpu, Hub, Mirrors
from tests.unit.box import DEPLOYED, NO_GPU, bare
from tests.unit.engine import recorded

PYINFRA = str(Path(sys.executable).with_name("pyinfra"))

INVENTORY = """\
import json
from pathlib import Path
from jupyterbox import Box

declared, says = json.loads(Path({values!r}).read_text())
boxes = [
    Box(**declared).at(
        "@fake/box", ssh_user="root", fake_responses=says, fake_delay=0, fake_delay_jitter=0
    )
]
"""


class Operator:
    """Somebody with this repository and an inventory of one box."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self, *arguments: str, box: Box | dict[str, Any], says: dict[str, Any]
    ) -> subprocess.CompletedProcess[str]:
        """Run pyinfra with a box that is declared so and says so."""
        declared = box.model_dump(mode="json") if isinstance(box, Box) else box
        values, inventory = self.folder / "values.json", self.folder / "inventory.py"
        values.write_text(json.dumps([declared, says]))
        inventory.write_text(INVENTORY.format(values=str(values)))
        return subprocess.run(
            [PYINFRA, "--json", *arguments[:1], str(inventory), *arguments[1:]],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def everything(tmp_path: Path, certificate: Path) -> dict[str, Any]:
    """A box with every setting set."""
    environment, lock = tmp_path / "environment.yml", tmp_path / "lock"
    environment.write_text(
        yaml.safe_dump({"dependencies": ["r-base", {"pip": ["six"]}], "variables": {"A": 1}})
    )
    lock.write_text(f"@EXPLICIT\nhttps://example.org/python.conda#{'0' * 64}\n")
    script = {"url": "https://example.org/x.sh", "sha256": "0" * 64}
    return {
        "hub": {
            "address": "::",
            "port": 443,
            "base_url": "/jupyter/",
            "default_url": "/tree",
            "allowed_users": ["grace"],
            "allowed_groups": ["lab"],
            "admins": ["ada"],
            "admin_groups": ["sudo"],
            "minimum_uid": 500,
            "extra_config": "c.JupyterHub.active_server_limit = 40",
            "proxy_api_port": 9001,
            "hub_port": 9081,
        },
        "conda": {
            "installers": {"amd64": script, "arm64": script},
            "root": "/data/conda",
            "channels": ["defaults", "https://example.org/channel"],
            "accept_anaconda_terms": True,
        },
        "environments": [
            {"name": "python3", "conda": ["python"], "pip": ["rich"], "variables": {"B": "2"}},
            {"name": "r", "title": "R 4", "file": str(environment)},
            {"name": "paper", "lock": str(lock)},
            {"name": "own", "conda": ["a"], "channels": ["bioconda"]},
        ],
        "users": [
            {
                "name": "ada",
                "groups": ["lab"],
                "uid": 1234,
                "shell": "/bin/zsh",
                "password_hash": "$6$salt$geheim",
            }
        ],
        "groups": [{"name": "lab", "gid": 300}],
        "gpu": {
            "branch": "595",
            "flavour": "open",
            "source": "cuda",
            "persistence": False,
            "remove_ppa": True,
            "ignore": False,
        },
        "packages": ["python3", "curl=8.1-2"],
        "mirrors": {
            "apt": "http://mirror/debian",
            "apt_security": "http://mirror/security",
            "python": "http://mirror/simple",
            "npm": "http://mirror/npm",
            "conda": "http://mirror/conda",
            "cuda": "http://mirror/cuda",
        },
        "ca_certificates": [str(certificate)],
        "keep": 2,
        "allow_any_os": True,
    }


def test_everything_is_set_in_the_box_that_has_everything_set(everything: dict[str, Any]) -> None:
    # What stands for itself: the lock of this repository, and apt in place of the installer.
    apart = {"hub": {"lock"}, "conda": {"source"}}
    assert everything.keys() == Box.model_fields.keys()
    models: dict[str, type[Setting]]
    models = {"hub": Hub, "conda": Conda, "mirrors": Mirrors, "gpu": Gpu}
    for name, model in models.items():
        assert everything[name].keys() | apart.get(name, set()) == model.model_fields.keys()


BARE_PLAN = [
    "Preflight: can this box become what is declared?",
    "Packages | Keep upgrades from restarting users' servers",
    "Packages | Point apt and pip at the site's mirrors",
    "Packages | Install the base packages",
    "Conda | Install conda into /opt/conda",
    "Conda | Write the system condarc",
    "Conda | Give login shells the conda command",
    "Users | Groups and accounts",
    "Build releases side by side, where several are missing",
    "Hub release | Build the hub's release",
    "Environments | Build python3",
    "Environments | Build anaconda3",
    "Take over a hub made by hand, and keep the article's path to its commands",
    "Kernelspecs | Publish the environments' kernels",
    "Hub service | Keep the hub's state to root",
    "Hub service | Make the proxy's token and the cookie secret",
    "Hub service | Leave room for the operator's own",
    "Hub service | Check and write /opt/jupyterhub/etc/jupyterhub/jupyterhub_config.py",
    "Hub service | Write its PAM service and its units",
    "Hub service | Run proxy and hub",
    "Health: does the hub answer through the proxy?",
    "Remove the hub's oldest releases",
]


def test_the_plan_of_a_bare_box_has_every_layer_in_the_articles_order(operator: Operator) -> None:
    done = operator.run("--dry", "deploy.py", box=DEPLOYED, says=bare())
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    assert [operation["name"] for operation in plan] == BARE_PLAN
    unchanged = [operation["name"] for operation in plan if not operation["hosts_with_change"]]
    assert unchanged == [
        "Packages | Point apt and pip at the site's mirrors",
        "Remove the hub's oldest releases",
    ]


def test_a_box_without_python_plans_the_same(operator: Operator) -> None:
    # It answers no question that a program of ours would have to answer.
    said = {key: bare()[key] for key in ("echo uid=", *NO_GPU, "@@architecture", "dpkg-query")}
    done = operator.run("--dry", "deploy.py", box=DEPLOYED, says=said)
    assert done.returncode == 0, done.stderr
    assert [operation["name"] for operation in json.loads(done.stdout)["plan"]] == BARE_PLAN


def test_a_box_with_everything_set_is_deployed_to_the_end(
    operator: Operator, everything: dict[str, Any]
) -> None:
    said = {**bare(), "@@apt": recorded("packages/site-trixie")}
    done = operator.run("-y", "deploy.py", box=everything, says=said)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    names = [operation["name"] for operation in shown["plan"]]
    assert [name for name in names if "Build" in name] == [
        "Build releases side by side, where several are missing",
        "Hub release | Build the hub's release",
        *(f"Environments | Build {name}" for name in ("python3", "r", "paper", "own")),
    ]
    assert "Packages | Bring the authority site" in names
    assert shown["results"]["totals"]["error"] == 0
    assert "geheim" not in done.stdout + done.stderr


def test_a_box_that_is_not_ready_is_told_all_of_it(operator: Operator) -> None:
    says = bare(urls={"https://pypi.org/simple/": "timed out"})
    says["@@architecture"] = says["@@architecture"].replace("\nsystemd\n", "\nsh\n")
    done = operator.run("--dry", "deploy.py", box=DEPLOYED, says=says)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = " ".join(done.stderr.split())
    assert (
        "@fake/box is not ready: - process 1 is sh: the hub needs systemd. "
        "- https://pypi.org/simple/ does not answer from the box (timed out): see Mirrors.python."
    ) in said


def test_verify_asks_the_hubs_own_python(operator: Operator) -> None:
    done = operator.run("-y", "tasks/verify.py", box=DEPLOYED, says={})
    assert done.returncode == 0, done.stderr
    [operation] = json.loads(done.stdout)["plan"]
    assert operation["name"] == "Verify: use the hub as a user does"


def test_what_a_removal_cannot_understand_is_told_at_once(operator: Operator) -> None:
    asked = ["--data", "everything=All", "--data", "force=please"]
    done = operator.run("--dry", "tasks/remove.py", *asked, box=DEPLOYED, says={})
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "everything=All: say yes or no. force=please: say yes or no." in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["", "0"])
def test_whoever_rolls_an_environment_back_does_not_mean_the_hub(
    operator: Operator, name: str
) -> None:
    # `env=$ENVIRONMENT`, which nobody has set; and pyinfra reads a number in the other.
    done = operator.run(
        "--dry", "tasks/rollback.py", "--data", f"env={name}", box=DEPLOYED, says={}
    )
    said = " ".join(done.stderr.split())
    assert f"no environment {name!r} has releases here: there are none." in said
    assert "Roll the hub back" not in said + done.stdout


def test_a_reboot_is_followed_by_what_verify_does(operator: Operator) -> None:
    done = operator.run("--dry", "tasks/reboot.py", box=DEPLOYED, says={})
    assert done.returncode == 0, done.stderr
    assert [operation["name"] for operation in json.loads(done.stdout)["plan"]] == [
        "One run at a time",
        "Reboot",
        "Health: does the hub answer through the proxy?",
        "Verify: use the hub as a user does",
    ]
