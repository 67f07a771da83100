"""After the first deploy: later ones, by whom and from where they may come, and what they tell."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from jupyterbox.demo.identity import crypt
from jupyterbox.layout import CONFIG, DATABASE, HUB_UNIT, PROXY_UNIT
from tests.box.accidents import Cut
from tests.box.conftest import REPOSITORY, Operator
from tests.box.user import User

PREFLIGHT = "Preflight: can this box become what is declared?"
HEALTH = "Health: does the hub answer through the proxy?"
CONFIGURES = [f"Hub service | Check and write {CONFIG}", "Hub service | Run proxy and hub"]

# What a running system writes by itself, and the hub's database.
DATABASES = f"{DATABASE.rpartition('/')[0]} {DATABASE}*"
RESTLESS = f"/run /var/log/* /var/lib/systemd/* {DATABASES}"


def test_a_second_deploy_changes_nothing_and_replaces_no_process(
    box: Operator, tmp_path: Path
) -> None:
    before = [box.main_pid(unit) for unit in (HUB_UNIT, PROXY_UNIT)]
    box.sh("touch /run/before && sleep 0.05")
    dry = box.pyinfra("--dry", "--json", "deploy.py")
    assert dry.returncode == 0, dry.stderr
    plan = json.loads(dry.stdout)["plan"]
    assert len(plan) > 15
    assert [o["name"] for o in plan if o["hosts_with_change"]] == []
    cut = Cut(machine=box.machine.name, record=str(tmp_path / "commands"))
    assert box.deploy(program=cut.program())["success"] == 0
    assert [box.main_pid(unit) for unit in (HUB_UNIT, PROXY_UNIT)] == before
    # Who is far away waits for each; most of these go side by side.
    assert len((tmp_path / "commands").read_text().splitlines()) <= 15
    excluded = " ".join(f"! -path '{path}'" for path in RESTLESS.split())
    # Anything else that was written, or only given another mode or owner.
    assert box.sh(f"find / -xdev -cnewer /run/before {excluded}") == ""


def test_both_sudo_accounts_and_root_find_the_box_unchanged_and_change_it(
    restored: Operator,
) -> None:
    box = restored
    password = {"JUPYTERBOX_SUDO_PASSWORD": box.machine.opspw_password}
    settings = box.settings()
    before: list[str] = []
    for user, env, admins in (
        ("ops", {}, ["one-by-ops"]),
        ("opspw", password, ["two-by-opspw"]),
        ("root", {}, []),
    ):
        box.sh(f"rm -rf ~{user}/.jupyterbox")
        # The first run of an account makes its own directory for uploads, and says so; with a
        # password, pyinfra needs it before.
        assert set(box.changed(settings, user=user, env=env)) <= {PREFLIGHT}, user
        settings["hub"]["admins"] = admins
        changed = box.changed(settings, user=user, env=env)
        assert [name for name in changed if name != HEALTH] == CONFIGURES, user
        config = box.sh(f"cat {CONFIG}")
        assert all(admin in config for admin in admins)
        assert not any(admin in config for admin in before)
        before = admins
        assert box.sh(f"stat -c '%a %U' {CONFIG}") == "600 root\n"
        # Nothing of what was uploaded stays behind, and nobody could have read it.
        assert box.sh(f"stat -c '%a %U' ~{user}/.jupyterbox") == f"700 {user}\n"
        assert box.sh(f"ls -A ~{user}/.jupyterbox") == ""


@pytest.mark.once
def test_a_server_that_takes_one_session_at_a_time_is_asked_in_turn(box: Operator) -> None:
    # pyinfra's file transfers keep one for themselves.
    few = "/etc/ssh/sshd_config.d/few.conf"
    box.sh(f"echo 'MaxSessions 2' > {few} && systemctl reload ssh")
    try:
        assert box.deploy()["success"] == 0
    finally:
        box.sh(f"rm {few} && systemctl reload ssh")


CHECKOUT = "/srv/jupyterbox"
ON_THE_BOX = """\
import json
from pathlib import Path
from jupyterbox import Box

boxes = [Box(**json.loads(Path("settings.json").read_text())).at("@local")]
"""


def checkout() -> bytes:
    """This checkout as a tar archive: what git tracks, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in filter(None, listed.split("\0")):
            if (REPOSITORY / name).is_file():
                tar.add(REPOSITORY / name, name)
    return archive.getvalue()


def test_a_checkout_on_the_box_itself_finds_what_was_deployed_over_ssh(box: Operator) -> None:
    settings = box.settings()
    # The authorities' files are the deploying machine's; on the box they have a place of their own.
    settings["ca_certificates"] = [
        f"/usr/local/share/ca-certificates/{Path(path).stem}.crt"
        for path in settings["ca_certificates"]
    ]
    subprocess.run(
        [
            *box.machine.ssh_command(),
            f"rm -rf {CHECKOUT} && mkdir {CHECKOUT} && tar -xC {CHECKOUT} --no-same-owner",
        ],
        input=checkout(),
        check=True,
    )
    # With what a user of the box has: its Python, and the index and authorities of /etc/pip.conf.
    box.sh(
        f"cd {CHECKOUT} && python3 -m venv .venv"
        " && .venv/bin/pip install --quiet --disable-pip-version-check -e . 2>&1"
    )
    box.machine.run(f"cat > {CHECKOUT}/settings.json", input=json.dumps(settings), check=True)
    box.machine.run(f"cat > {CHECKOUT}/inventories/here.py", input=ON_THE_BOX, check=True)
    for user in ("root", "ops"):
        # An account that has never deployed gets its directory for uploads, at home.
        box.machine.run("mkdir -pm 700 ~/.jupyterbox", user, check=True)
        run = box.machine.run(
            f"cd {CHECKOUT} && .venv/bin/pyinfra --json -y inventories/here.py deploy.py", user
        )
        assert run.returncode == 0, run.stderr
        totals = json.loads(run.stdout)["results"]["totals"]
        assert totals["success"] == 0, run.stdout
        assert totals["no_change"] > 15
    box.sh(f"rm -r {CHECKOUT}")
    assert box.sh(f"ls -d {CHECKOUT}/.jupyterbox", check=False) == ""


def test_facts_tell_the_box_as_json(box: Operator) -> None:
    facts = ("facts.hub.Hub", "facts.conda.CondaReleases", "facts.jupyter.Kernelspecs")
    for user in ("root", "ops"):
        run = box.pyinfra("fact", *facts, "--json", user=user)
        assert run.returncode == 0, run.stderr
        said = {name: hosts["127.0.0.1"] for name, hosts in json.loads(run.stdout).items()}
        assert set(said) == set(facts)
        hub, conda, kernels = (said[name] for name in facts)
        assert f"releases/{hub['current']}" == box.sh("readlink /opt/jupyterhub/current").strip()
        assert list(hub["releases"]) == [hub["current"]]
        assert hub["units"][HUB_UNIT]["active"] and hub["units"][PROXY_UNIT]["active"]
        assert hub["secrets"] == ["proxy.env", "cookie_secret"]
        for name in ("python3", "anaconda3"):
            current = conda["environments"][name]["current"]
            link = box.sh(f"readlink /opt/conda/envs/{name}").strip()
            assert link == f"../releases/{name}/{current}"
            [spec] = [row for row in kernels["kernelspecs"] if row["name"] == name]
            assert spec["prefix"] == f"/opt/conda/releases/{name}/{current}"
            assert (spec["ours"], spec["problem"]) == (True, None)


def test_a_declared_user_starts_with_the_declared_password_and_keeps_their_own(
    restored: Operator,
) -> None:
    box = restored
    declared = crypt("declared password")
    settings = box.settings()
    settings["users"].append({"name": "carol", "password_hash": declared})
    try:
        run = box.pyinfra("-vvv", "-y", "deploy.py", settings=settings)
        assert run.returncode == 0, run.stderr
        said = run.stdout + run.stderr
        assert "chpasswd" in said, "its password was not set in this run"
        inventory = box.pyinfra("debug-inventory", "--json", settings=settings)
        assert inventory.returncode == 0, inventory.stderr
        assert "carol" in inventory.stdout
        for text in (said, inventory.stdout + inventory.stderr):
            for secret in (declared, box.machine.demo_password_hash):
                assert secret.rpartition("$")[2] not in text
        User(box.machine.url, "carol", "declared password").log_in()

        box.machine.run("chpasswd", input="carol:a password of her own\n", check=True)
        assert box.deploy(settings)["success"] == 0
        User(box.machine.url, "carol", "a password of her own").log_in()
        with pytest.raises(AssertionError, match="not let in"):
            User(box.machine.url, "carol", "declared password").log_in()
    finally:
        box.sh("userdel --remove carol 2>&1", check=False)
