"""A box that is lost comes back from its backup: same users, passwords, tokens, homes, kernels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.box.conftest import Operator
from tests.box.machines import booted
from tests.box.user import User

pytestmark = pytest.mark.once

# A hub that runs writes to its database, with a journal beside it; one put in its place is another.
UNTOUCHED = (
    "cd /var/lib/jupyterhub && ls -I '*-journal' && stat -c '%n %i' jupyterhub.sqlite"
    " && stat -c '%n %i %Y' cookie_secret proxy.env /etc/passwd /etc/shadow"
)
OWN = "/opt/jupyterhub/etc/jupyterhub/jupyterhub_config.d/own.py"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery staple\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def successor(pytestconfig: pytest.Config, tmp_path: Path) -> Iterator[Operator]:
    """A bare machine, as if the other were no more."""
    name = f"{os.environ.get('JUPYTERBOX_TEST_BOX', 'test')}-successor"
    with booted(name, pytestconfig.getoption("--release")) as machine:
        yield Operator(machine, tmp_path)


def token_of(user: User) -> str:
    """A new token for the hub's API."""
    url = f"{user.hub}/hub/api/users/{user.name}/tokens"
    status, _, text = user.fetch(url, b"{}", headers={"Content-Type": "application/json"})
    assert status in (200, 201), text
    token: str = json.loads(text)["token"]
    return token


def who_has(token: str, hub: str) -> str:
    """Whom a hub takes somebody with a token for."""
    request = Request(f"{hub}/hub/api/user", headers={"Authorization": f"token {token}"})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
        name: str = json.load(answer)["name"]
        return name


def prefixes(user: User) -> dict[str, str]:
    """Where each published kernel runs from."""
    found = {}
    for name in user.kernelspecs():
        with user.kernel(name) as kernel:
            found[name] = kernel.execute("import sys; print(sys.prefix)")
    return found


def restore(box: Operator, archive: Path, passphrase: Path, *more: str) -> tuple[int, str]:
    """Restore, and what it said."""
    data = [f"from={archive}", f"passphrase_file={passphrase}", *more]
    options = [word for datum in data for word in ("--data", datum)]
    run = box.pyinfra("-y", "tasks/restore.py", *options)
    return run.returncode, run.stdout + run.stderr


def test_a_lost_box_comes_back(
    box: Operator, ada: User, bob: User, passphrase: Path, tmp_path: Path, successor: Operator
) -> None:
    box.sh("groupadd --force lab; usermod --append --groups lab,sudo ada")
    box.sh("su ada -c 'umask 077; mkdir -p ~/work; echo mine > ~/work/notes; ln -sfn / ~/work/x'")
    box.sh(f"echo 'c.JupyterHub.active_server_limit = 40' > {OWN}; chmod 600 {OWN}")
    token, kernels = token_of(ada), prefixes(ada)
    identity = box.sh("id ada; id bob; getent shadow ada bob")

    data = [f"to={tmp_path}/backups", "homes=yes", f"passphrase_file={passphrase}"]
    options = [word for datum in data for word in ("--data", datum)]
    run = box.pyinfra("-y", "tasks/backup.py", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    [archive] = (tmp_path / "backups").iterdir()
    assert archive.stat().st_mode & 0o777 == 0o600
    assert box.sh("ls -A /var/lib/jupyterhub").count("backup") == 0

    # A hub with users is not written over.
    before = box.sh(UNTOUCHED)
    status, said = restore(box, archive, passphrase)
    assert (status, "with users in it (" in said, "force=yes" in said) == (1, True, True), said
    assert box.sh(UNTOUCHED) == before

    # Nobody loses an account to somebody else's number.
    uid = box.sh("id -u ada").strip()
    successor.sh(f"useradd --no-create-home --uid {uid} mallory")
    status, said = restore(successor, archive, passphrase)
    assert (status, f"uid {uid} is mallory's here, and ada's in the backup." in said) == (1, True)
    assert "ada" not in successor.sh("cat /etc/passwd")
    assert not successor.sh("ls -d /var/lib/jupyterhub", check=False)
    successor.sh("userdel mallory")

    for _ in "once", "again":
        status, said = restore(successor, archive, passphrase)
        assert status == 0, said
    assert successor.sh("id ada; id bob; getent shadow ada bob") == identity
    assert successor.sh("stat -c '%U %G %a' ~ada/work ~ada/work/notes").split("\n")[:2] == [
        "ada ada 700",
        "ada ada 600",
    ]
    assert successor.sh("cat ~ada/work/notes; readlink ~ada/work/x") == "mine\n/\n"
    # What it has made, a removal of everything can tell.
    journal = successor.sh("cat /var/lib/jupyterhub/journal").splitlines()
    assert [journal.count(f"account {name}") for name in ("ada", "bob", "root")] == [1, 1, 0]
    secrets = "cat /var/lib/jupyterhub/cookie_secret /var/lib/jupyterhub/proxy.env"
    assert successor.sh(secrets) == box.sh(secrets)

    successor.deploy()
    assert successor.changed() == []
    assert successor.sh(f"cat {OWN}") == "c.JupyterHub.active_server_limit = 40\n"
    hub = successor.machine.url
    assert who_has(token, hub) == "ada"
    people = [User(hub, user.name, user.password) for user in (ada, bob)]
    for user in people:
        user.log_in()
    people[0].start_server()
    assert prefixes(people[0]) == kernels
    box.sh(f"rm {OWN}")
