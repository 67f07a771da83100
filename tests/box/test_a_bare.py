"""A bare box: what a run says of it before it changes anything, and that it then has not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess

import pytest

from jupyterbox.settings import MINIFORGE_INSTALLERS
from tests.box import tree
from tests.box.conftest import Operator, Settings

CLOSED = "http://127.0.0.1:9"
"""Nobody listens on discard's port."""

PROBLEM = re.compile(r"^(?: +\[127\.0\.0\.1\] - | +- )(.*)$", re.MULTILINE)


class Watch:
    """What changes in a box's file tree from one look at it to the next."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.tree = operator.tree()

    def changes(self) -> list[str]:
        """What has changed since the last look, a line each."""
        before, self.tree = self.tree, self.operator.tree()
        return tree.difference(before, self.tree)

    def changed(self) -> list[str]:
        """The paths that have."""
        return [line.partition(":")[0] for line in self.changes()]


def problems(run: CompletedProcess[str]) -> list[str]:
    """The problems that a run listed, in a run that did not do what it should."""
    said = run.stdout + run.stderr
    assert run.returncode == 1, said
    assert "Traceback" not in said
    return PROBLEM.findall(said)


@pytest.fixture(scope="module")
def watch(bare: Operator) -> Watch:
    """The bare machine after its accounts have used sudo, which leaves marks in their homes."""
    bare.machine.run("sudo true", "ops", check=True)
    bare.machine.run("sudo -S true", "opspw", f"{bare.machine.opspw_password}\n", check=True)
    # There already where a machine is kept from run to run.
    bare.sh("rm -rf ~opspw/.jupyterbox")
    return Watch(bare)


FACTS = {
    "facts.conda.Conda": [],
    "facts.conda.CondaEnvs": [],
    "facts.conda.CondaPackages": ["env=python3"],
    "facts.conda.UserCondaEnvs": [],
    "facts.jupyter.Kernelspecs": [],
    "facts.hub.Hub": [],
    "facts.hub.HubActivity": [],
    "facts.box.System": [],
}


@pytest.mark.parametrize("user", ["root", "ops"])
def test_facts_of_a_bare_box_are_empty_and_leave_no_trace(watch: Watch, user: str) -> None:
    watch.changes()
    asked = [word for fact, arguments in FACTS.items() for word in (fact, *arguments)]
    run = watch.operator.pyinfra("--json", "fact", *asked, user=user)
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stderr and "arning" not in run.stderr, run.stderr
    said = {name.partition(" ")[0]: hosts for name, hosts in json.loads(run.stdout).items()}
    assert list(said) == list(FACTS)
    for name, hosts in said.items():
        found = hosts["127.0.0.1"]
        if name == "facts.box.System":
            assert found["os"]
            continue
        assert found["problems"] == [], name
        things = ("environments", "kernelspecs", "releases", "servers", "users", "packages")
        assert [found[key] for key in things if found.get(key)] == [], name
    assert watch.changes() == []


def test_the_comparison_sees_content_mode_owner_time_and_what_comes_and_goes(watch: Watch) -> None:
    watch.operator.sh(
        "mkdir /opt/seen && cd /opt/seen && touch mode owner time gone"
        " && echo a > content && touch -d @1 content"
    )
    watch.changes()
    watch.operator.sh(
        "cd /opt/seen && echo b > content && touch -d @1 content && chmod 600 mode"
        " && chown 1 owner && touch -d @1 time && rm gone && ln -s / come"
    )
    changed = watch.changed()
    watch.operator.sh("rm -r /opt/seen")
    watch.changes()
    names = ["come", "content", "gone", "mode", "owner", "time"]
    assert changed == ["/opt/seen", *(f"/opt/seen/{name}" for name in names)]


@pytest.mark.parametrize("user", ["root", "ops"])
def test_a_dry_run_lists_every_layer_and_touches_nothing(
    bare: Operator, watch: Watch, user: str
) -> None:
    run = bare.pyinfra("--dry", "deploy.py", user=user)
    assert run.returncode == 0, run.stderr
    layers = ("Preflight", "Packages", "Conda", "Users", "Hub release", "Environments")
    for layer in (*layers, "Kernelspecs", "Hub service", "Health"):
        planned = re.findall(rf"^ +{layer}\b.* 1 \(127\.0\.0\.1\)", run.stderr, re.MULTILINE)
        assert planned, f"no change planned for {layer}: {run.stderr}"
    assert watch.changes() == []


def test_a_dry_run_with_a_sudo_password_makes_its_private_directory_and_nothing_else(
    bare: Operator, watch: Watch
) -> None:
    password = bare.machine.opspw_password
    run = bare.pyinfra(
        "--dry", "deploy.py", user="opspw", env={"JUPYTERBOX_SUDO_PASSWORD": password}
    )
    assert run.returncode == 0, run.stderr
    # The password was in a program of pyinfra's there, which is gone.
    assert watch.changed() == ["/home/opspw", "/home/opspw/.jupyterbox"]
    mode, owner = watch.tree["/home/opspw/.jupyterbox"].split()[:2]
    assert (mode, owner) == ("drwx------", watch.tree["/home/opspw"].split()[1])
    assert password not in run.stdout + run.stderr


@contextmanager
def impossible(operator: Operator) -> Iterator[None]:
    """Another system, another init, a full disk, a taken port.

    All of it mounts and processes: when they are gone, the files are as they were.
    """
    port = operator.machine.ports["hub"]
    squatter = f"python3 -m http.server {port} --bind 127.0.0.1 --directory /run/systemd"
    try:
        operator.sh(
            "echo 'ID=plan9\nVERSION_ID=4\nPRETTY_NAME=\"Plan 9\"' > /run/os-release"
            " && mount --bind /run/os-release /etc/os-release"
            " && echo runit > /run/comm && mount --bind /run/comm /proc/1/comm"
            " && mount -t tmpfs -o size=8m tmpfs /opt"
            f" && systemd-run --quiet --unit=squatter {squatter}"
            f" && until ss -Hltn | grep -q :{port}; do sleep 0.1; done"
        )
        yield
    finally:
        operator.sh(
            "systemctl stop squatter; umount /opt /proc/1/comm /etc/os-release", check=False
        )


def installer(settings: Settings) -> dict[str, str]:
    """The installer that the demo's settings name, or the default one."""
    declared = settings["conda"].get("installers", MINIFORGE_INSTALLERS)["amd64"]
    return declared if isinstance(declared, dict) else declared.model_dump()


def unreachable(settings: Settings, channel: str) -> Settings:
    """Settings whose mirrors are not there: nobody listens, or has no such channel."""
    settings["conda"] = {
        "installers": {"amd64": {"url": f"{CLOSED}/conda.sh", "sha256": "0" * 64}},
        "channels": [channel],
    }
    settings["conda"]["installers"]["arm64"] = settings["conda"]["installers"]["amd64"]
    settings["mirrors"] |= {"python": f"{CLOSED}/simple", "npm": f"{CLOSED}/npm"}
    return settings


def test_every_problem_is_in_one_list_with_its_cure_and_nothing_is_touched(
    bare: Operator, watch: Watch
) -> None:
    port = bare.machine.ports["hub"]
    channel = f"http://127.0.0.1:{port}/nobodys"
    settings = unreachable(bare.settings(), channel)
    refused = "does not answer from the box (Connection refused): see"
    with impossible(bare):
        dry = problems(bare.pyinfra("--dry", "deploy.py", settings=settings))
        real = problems(bare.pyinfra("-y", "deploy.py", settings=settings, user="ops"))
        squatter = bare.main_pid("squatter")
        settings["allow_any_os"] = True
        tolerant = problems(bare.pyinfra("--dry", "deploy.py", settings=settings))
    needed = re.compile(r"/opt has 8 MB free, and ([0-9]{4}) MB are needed: make room\.")
    space = next(filter(None, map(needed.fullmatch, dry)))
    assert 2000 < int(space[1]) < 5000
    assert dry == [
        "the box runs Plan 9: supported are debian 12/13, ubuntu 22.04/24.04/26.04; to try "
        "anyway, set allow_any_os=True.",
        "process 1 is runit: the hub needs systemd.",
        space[0],
        f"port {port} is taken by python3 (process {squatter}): stop it, or choose another with "
        "Hub(port=...).",
        f"{channel}/noarch/repodata.json does not answer from the box (404 File not found): see "
        "Mirrors.conda and channels.",
        f"{CLOSED}/conda.sh {refused} Conda.installers.",
        f"{CLOSED}/npm/configurable-http-proxy {refused} Mirrors.npm.",
        f"{CLOSED}/simple/ {refused} Mirrors.python.",
    ]
    assert real == dry
    assert tolerant == dry[1:]
    assert watch.changes() == []


def test_one_problem_suffices(bare: Operator, watch: Watch) -> None:
    settings = bare.settings()
    settings["mirrors"]["python"] = f"{CLOSED}/simple"
    said = "/simple/ does not answer from the box (Connection refused): see Mirrors.python."
    for mode in ("--dry", "-y"):
        run = bare.pyinfra(mode, "deploy.py", settings=settings)
        assert problems(run) == [f"{CLOSED}{said}"]
    assert watch.changes() == []


def test_an_installer_with_another_sha256_is_not_run_and_not_kept(
    bare: Operator, watch: Watch
) -> None:
    settings = bare.settings()
    script = installer(settings)
    right, wrong = script["sha256"], "0" * 64
    settings["conda"]["installers"] = dict.fromkeys(["amd64", "arm64"], script | {"sha256": wrong})
    run = bare.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode == 1
    assert (
        f"{script['url']} has sha256 {right}, and the settings want {wrong}: it was not run."
        in run.stderr
    )
    # It was below there while its hash was taken.
    assert watch.changed() == ["/var/cache"]


def test_a_host_that_does_not_answer_is_named(bare: Operator) -> None:
    run = bare.pyinfra("-y", "deploy.py", host="127.0.0.2")
    assert run.returncode == 1
    assert "[127.0.0.2] Could not connect" in run.stderr
    assert f"Unable to connect to port {bare.machine.ssh_port} on 127.0.0.2" in run.stderr
    assert "Traceback" not in run.stderr


SUDO_ASKS = (
    "sudo refuses opspw without a password: give it in the variable JUPYTERBOX_SUDO_PASSWORD, or "
    "allow the account NOPASSWD in sudoers."
)


def test_a_password_that_sudo_asks_for_and_nobody_gave_is_asked_for(
    bare: Operator, watch: Watch
) -> None:
    for mode in ("--dry", "-y"):
        assert problems(bare.pyinfra(mode, "deploy.py", user="opspw")) == [SUDO_ASKS]
    assert watch.changes() == []


def test_a_password_that_sudo_refuses_is_said_to_be(bare: Operator, watch: Watch) -> None:
    run = bare.pyinfra(
        "-y", "deploy.py", user="opspw", env={"JUPYTERBOX_SUDO_PASSWORD": "a guess of mine"}
    )
    said = "sudo refuses opspw with this password: see `sudo -l` on the box."
    assert problems(run) == [said]
    assert "a guess of mine" not in run.stdout + run.stderr
    assert set(watch.changed()) <= {"/home/opspw", "/home/opspw/.jupyterbox"}


@pytest.fixture
def guest(bare: Operator, watch: Watch) -> Iterator[str]:
    """The password of `guest`, who may log in and do nothing."""
    bare.sh(
        "useradd --create-home --shell /bin/bash guest && echo guest:secret-of-guest | chpasswd"
        " && cp -r /root/.ssh /home/guest && chown -R guest: /home/guest/.ssh"
    )
    # On Ubuntu, a first login leaves a mark, too.
    bare.machine.run("true", "guest", check=True)
    watch.changes()
    yield "secret-of-guest"
    bare.sh("systemctl stop user-$(id -u guest).slice && userdel --remove guest 2>&1")
    watch.changes()


def test_an_account_without_rights_is_refused(bare: Operator, watch: Watch, guest: str) -> None:
    run = bare.pyinfra("--dry", "deploy.py", user="guest", env={"JUPYTERBOX_SUDO_PASSWORD": guest})
    assert problems(run) == ["sudo refuses guest with this password: see `sudo -l` on the box."]
    # sudo remembers to whom it has explained itself.
    changed = [path for path in watch.changed() if not path.startswith("/var/lib/sudo/lectured")]
    assert changed == ["/home/guest", "/home/guest/.jupyterbox"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("environments", "sentence"),
    [
        pytest.param(
            ["python3", "lab", "lab"],
            "Box.environments: two environments are called 'lab'; every name is there once.",
            id="two of one name",
        ),
        pytest.param(
            ["python3", "../x"],
            "Environment.name is '../x': an environment has a name, not a path: lower-case "
            "letters, digits and . _ -, and it begins with a letter or a digit.",
            id="a path for a name",
        ),
        pytest.param(
            ["lab"],
            "Box.environments: one environment must be called 'python3'; these are: lab.",
            id="no python3",
        ),
        pytest.param(
            None,
            "Box has no setting 'color': it has hub, conda, environments, users, groups, gpu, "
            "packages, mirrors, ca_certificates, keep, allow_any_os.",
            id="an unknown setting",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_nothing_connects(
    bare: Operator, environments: list[str] | None, sentence: str
) -> None:
    settings = bare.settings()
    if environments is None:
        settings["color"] = "red"
    else:
        settings["environments"] = [{"name": name, "conda": ["python"]} for name in environments]
    run = bare.pyinfra("-y", "deploy.py", settings=settings)
    assert run.returncode == 1
    errors = [line for line in run.stderr.splitlines() if "error" in line]
    assert [line.partition(": ")[2] for line in errors] == [sentence]
    assert "Traceback" not in run.stderr
    assert "Connecting" not in run.stderr
