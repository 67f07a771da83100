"""What is known of a box before anything changes there, and every problem with its cure."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError, OperationError
from pyinfra.api.operation import add_op
from pyinfra.connectors.fake import FakeConnector

from facts.preflight import (
    Access,
    BecomesRoot,
    Preflight,
    RejectsSha1Keys,
    UrlProblems,
    parse_filesystems,
    parse_listeners,
    parse_os_release,
    parse_system,
)
from jupyterbox.settings import Box, Conda, Environment, Group, Hub, Mirrors, User
from operations import preflight
from tests.unit.box import DEPLOYED, HUB, INSTALLER, PYTHON3, bare, converged, state
from tests.unit.engine import Shown, engine, fact, first_line, programs, recorded, run

LINE = st.text(st.characters(exclude_characters="\n"))
WORKSPACE = ("mkdir -p ~/.jupyterbox && chmod 700 ~/.jupyterbox", {"_sudo": False})

# --- what a box is ---


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("bookworm", ("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")),
        ("trixie", ("debian", "13", "trixie", "Debian GNU/Linux 13 (trixie)")),
        ("jammy", ("ubuntu", "22.04", "jammy", "Ubuntu 22.04.5 LTS")),
        ("noble", ("ubuntu", "24.04", "noble", "Ubuntu 24.04.5 LTS")),
        ("resolute", ("ubuntu", "26.04", "resolute", "Ubuntu 26.04.1 LTS")),
    ],
)
def test_a_bare_box_of_every_supported_release(release: str, expected: tuple[str, ...]) -> None:
    found = fact(Preflight, {"@@architecture": recorded(f"preflight/{release}")})
    assert (found["os"], found["version"], found["codename"], found["name"]) == expected
    assert (found["architecture"], found["init"]) == ("amd64", "systemd")
    assert set(found["filesystems"]) == {"/opt/jupyterhub", "/opt/conda", "/var/lib/jupyterhub"}
    assert all(f["mount"] == "/" and f["free_mb"] > 60_000 for f in found["filesystems"].values())
    # Other machines of its host are seen, but not their processes.
    assert [s["process"] for s in found["listeners"] if s["process"]] == ["sshd"]
    assert found["ours"] == []


def test_a_deployed_box_knows_its_own_processes() -> None:
    found = parse_system(recorded("preflight/deployed").splitlines())
    server, proxy = found["ours"]
    holders = {s["port"]: (s["process"], s["pids"]) for s in found["listeners"]}
    # Node names its main thread.
    assert holders[HUB.port] == ("MainThread", [proxy])
    assert holders[HUB.proxy_api_port] == ("MainThread", [proxy])
    assert holders[HUB.hub_port] == ("jupyterhub", [server])


def test_sockets_of_every_kind() -> None:
    found = parse_listeners(recorded("preflight/ss").splitlines())
    assert {(s["address"], s["port"]) for s in found} == {
        ("127.0.0.1", 8001),
        ("0.0.0.0", 8000),
        ("127.0.0.53%lo", 53),
        ("::1", 8081),
        ("::", 8444),
        ("*", 8443),
    }
    assert all(s["process"] == "python3" and len(s["pids"]) == 2 for s in found)


def test_what_ss_says_else_is_no_socket() -> None:
    assert parse_listeners(["", "LISTEN", "Cannot open netlink socket: Protocol wrong type"]) == []


def test_os_release_has_quotes_and_none() -> None:
    lines = ["# a comment", "ID=debian", 'NAME="A \\"B\\""', "VERSION_ID='13'", "EMPTY=", "junk"]
    found = parse_os_release(lines)
    assert (found["ID"], found["VERSION_ID"], found["EMPTY"]) == ("debian", "13", "")
    assert "junk" not in found


def test_free_space_is_in_megabytes_and_a_mount_may_have_spaces() -> None:
    assert parse_filesystems(["/opt 2048 /", "/x 1024 /mnt/a disk", "/y  "]) == {
        "/opt": {"mount": "/", "free_mb": 2},
        "/x": {"mount": "/mnt/a disk", "free_mb": 1},
    }


@given(lines=st.lists(LINE | st.sampled_from(["@@os", "@@free", "@@listeners", "0"])))
def test_garbage_is_a_system_or_refused(lines: list[str]) -> None:
    try:
        found = parse_system(lines)
    except FactProcessError:
        return
    assert found.keys() == Preflight.default().keys()


def test_the_command_answers_on_this_machine(tmp_path: Path) -> None:
    command = Preflight().command(paths=[str(tmp_path), "/no/such/place"], units=["no.service"])
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    found = parse_system(done.stdout.splitlines())
    assert found["init"] == Path("/proc/1/comm").read_text().strip()
    # A place that is not there yet counts for the directory that it will be made in.
    assert found["filesystems"]["/no/such/place"]["mount"] == "/"
    assert found["filesystems"][str(tmp_path)]["free_mb"] > 0


# --- who logs in ---


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("root-trixie", ("0", "root", "yes", "")),
        ("ops-bookworm", ("1000", "ops", "yes", "")),
        ("opspw-bookworm", ("1001", "opspw", "sudo: a password is required", "")),
        ("opspw-trixie", ("1001", "opspw", "sudo: a password is required", "")),
        ("opspw-noble", ("1001", "opspw", "sudo: a password is required", "")),
        ("opspw-resolute", ("1001", "opspw", "sudo: interactive authentication is required", "")),
        ("no-sudo", ("1000", "ops", "the box has no sudo", "755 ops")),
        ("open-workspace", ("1000", "ops", "yes", "755 ops")),
    ],
)
def test_how_an_account_becomes_root(recording: str, expected: tuple[str, ...]) -> None:
    found = fact(Access, {"echo uid=": recorded(f"preflight/access-{recording}")})
    assert (found["uid"], found["user"], found["sudo"], found["workspace"]) == expected


@given(lines=st.lists(LINE))
def test_garbage_is_nobody(lines: list[str]) -> None:
    with pytest.raises(FactProcessError):
        Access().process(lines)


@pytest.mark.parametrize(
    ("cls", "arguments", "empty"),
    [
        (Preflight, {}, Preflight.default()),
        (Access, {}, {"uid": "", "user": "", "sudo": "", "workspace": ""}),
        (BecomesRoot, {}, False),
        (UrlProblems, {"urls": ["http://x"]}, {}),
        (RejectsSha1Keys, {}, False),
    ],
)
def test_a_box_that_says_nothing(cls: Any, arguments: dict[str, Any], empty: Any) -> None:
    assert fact(cls, **arguments) == empty


def test_words_for_yes_and_no() -> None:
    assert fact(BecomesRoot, {"id -u": "0"}) is True
    assert fact(BecomesRoot, {"id -u": "1000"}) is False
    assert fact(RejectsSha1Keys, {"sqv": "yes"}) is True
    assert fact(RejectsSha1Keys, {"sqv": "no"}) is False
    problems = {"http://x": "404 Not Found"}
    assert fact(UrlProblems, programs(check_urls=problems), urls=["http://x"]) == problems


# --- the check ---


def problems(box: Box, says: dict[str, Any], **arguments: Any) -> list[str]:
    """What a box is refused for, while planning; the same must be said when it is executed."""
    with pytest.raises(OperationError) as caught:
        run(preflight.check, box=box, says=says, **arguments)
    head, *lines = str(caught.value).split("\n")
    assert head == "@fake/box is not ready:"
    found = [line.removeprefix("  - ") for line in lines]

    [refused] = run(preflight.check, box=box, says=says, planning=False, **arguments)
    command, connector = refused
    assert connector == {"_sudo": False}
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "".join(f"- {problem}\n" for problem in found)
    return found


FETCH = (
    "if there is a python3: fetch",
    {
        "url": INSTALLER.url,
        "sha256": INSTALLER.sha256,
        "path": f"/var/cache/jupyterbox/{INSTALLER.sha256}.sh",
        "ca": "",
    },
)


@pytest.mark.parametrize("system", ["bookworm", "trixie", "jammy", "noble", "resolute"])
def test_a_bare_box_is_ready_and_gets_the_installer_and_a_workspace(system: str) -> None:
    assert run(preflight.check, box=DEPLOYED, says=bare(system)) == [FETCH, WORKSPACE]


def test_a_deployed_box_is_ready_as_it_is() -> None:
    assert run(preflight.check, box=DEPLOYED, says=converged()) == []


@pytest.mark.parametrize(
    ("workspace", "expected"), [("755 root", [WORKSPACE]), ("700 mallory", [WORKSPACE])]
)
def test_a_workspace_that_others_could_use_is_closed(workspace: str, expected: list[Shown]) -> None:
    access = f"uid=0\nuser=root\nworkspace={workspace}\nsudo=yes"
    assert run(preflight.check, box=DEPLOYED, says={**converged(), "echo uid=": access}) == expected


def with_line(says: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The same box, but for a line of what it says about its system."""
    text = says["@@architecture"]
    assert re.search(old, text, re.MULTILINE)
    return {**says, "@@architecture": re.sub(old, new, text, flags=re.MULTILINE)}


SUPPORTED = (
    "supported are debian 12/13, ubuntu 22.04/24.04/26.04; to try anyway, set allow_any_os=True."
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '^VERSION_ID="13"$',
            'VERSION_ID="11"',
            f"the box runs Debian GNU/Linux 13 (trixie): {SUPPORTED}",
        ),
        (
            "^ID=debian$",
            "ID=mint",
            f"the box runs Debian GNU/Linux 13 (trixie): {SUPPORTED}",
        ),
        (
            "^amd64$",
            "riscv64",
            "the box is riscv64: Node and conda come for amd64 and arm64.",
        ),
        ("^systemd$", "sh", "process 1 is sh: the hub needs systemd."),
    ],
)
def test_a_system_that_was_not_tested_is_refused(old: str, new: str, says: str) -> None:
    # An unknown architecture has no installer to ask for.
    box = DEPLOYED.model_copy(update={"conda": Conda(source="apt")})
    unlike = {**with_line(bare(), old, new), "command -v sqv": "no"}
    assert problems(box, unlike) == [says]


def test_a_system_that_does_not_say_what_it_is() -> None:
    unlike = with_line(bare(), "^(PRETTY_NAME|ID|VERSION_ID)=.*$", "X=")
    assert problems(DEPLOYED, unlike) == [f"the box runs an unknown system: {SUPPORTED}"]


def test_any_system_is_tried_when_it_is_said_so() -> None:
    box = DEPLOYED.model_copy(update={"allow_any_os": True})
    unlike = with_line(bare(), "^ID=debian$", "ID=mint")
    assert run(preflight.check, box=box, says=unlike) == [FETCH, WORKSPACE]


# --- access ---


def test_without_sudo_only_root_will_do() -> None:
    assert problems(DEPLOYED, bare(access="ops-trixie")) == [
        "ops is not root: log in as root, or let pyinfra use sudo."
    ]


def test_sudo_without_a_password_will_do() -> None:
    assert run(preflight.check, box=DEPLOYED, says=bare(access="ops-trixie"), _sudo=True) == [
        FETCH,
        WORKSPACE,
    ]


@pytest.fixture
def nobody_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No terminal to ask at."""
    with open("/dev/null") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


@pytest.mark.parametrize(
    ("access", "user"), [("opspw-trixie", "opspw"), ("opspw-resolute", "opspw")]
)
@pytest.mark.usefixtures("nobody_there")
def test_sudo_that_asks_for_a_password_is_told_where_to_give_it(access: str, user: str) -> None:
    assert problems(DEPLOYED, bare(access=access), _sudo=True) == [
        f"sudo refuses {user} without a password: give it in the variable "
        "JUPYTERBOX_SUDO_PASSWORD, or allow the account NOPASSWD in sudoers."
    ]


def test_a_box_without_sudo() -> None:
    assert problems(DEPLOYED, bare(access="no-sudo"), _sudo=True) == [
        "the box has no sudo: install it, or log in with ssh_user='root'."
    ]


def test_a_password_that_sudo_refuses() -> None:
    says = {
        **bare(access="opspw-trixie"),
        "id -u": {"success": False, "stderr": "Sorry, try again."},
    }
    # `echo uid=$(id -u)` is asked before.
    says = {"echo uid=": says["echo uid="], **says}
    assert problems(DEPLOYED, says, _sudo=True, _sudo_password="wrong") == [
        "sudo refuses opspw with this password: see `sudo -l` on the box."
    ]


def test_a_password_that_sudo_takes() -> None:
    says = {**bare(access="opspw-trixie"), "id -u": "0"}
    says = {"echo uid=": says["echo uid="], "@@architecture": says["@@architecture"], **says}
    commands = run(preflight.check, box=DEPLOYED, says=says, _sudo=True, _sudo_password="right")
    assert commands == [FETCH, WORKSPACE]


# --- space ---


def test_a_disk_that_is_too_small_says_how_much_is_needed() -> None:
    little = with_line(bare(), r"^(/\S+) \d+ /$", r"\1 1024000 /")
    # The hub, conda, two environments of three packages each, and the hub's state.
    needed = 900 + 900 + 2 * (400 + 3 * 50) + 100
    assert problems(DEPLOYED, little) == [
        f"/ has 1000 MB free, and {needed} MB are needed: make room."
    ]


def test_every_disk_counts_for_what_lies_on_it() -> None:
    little = with_line(bare(), r"^(/opt/conda) \d+ /$", r"\1 1024000 /data")
    little = with_line(little, r"^(/opt/jupyterhub) \d+ /$", r"\1 819200 /")
    little = with_line(little, r"^(/var/lib/jupyterhub) \d+ /$", r"\1 102400 /var")
    assert problems(DEPLOYED, little) == [
        "/ has 800 MB free, and 900 MB are needed: make room.",
        f"/data has 1000 MB free, and {900 + 2 * 550} MB are needed: make room.",
    ]


def test_a_deployed_box_needs_room_for_its_state_alone() -> None:
    little = with_line(converged(), r"^(/\S+) \d+ /$", r"\1 103424 /")
    assert run(preflight.check, box=DEPLOYED, says=little) == []


# --- ports ---


def sshd(says: dict[str, Any]) -> tuple[int, int]:
    """The port and the process of the box's sshd."""
    found = re.search(r":(\d+) .*\"sshd\",pid=(\d+)", says["@@architecture"])
    assert found
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("setting", ["port", "proxy_api_port", "hub_port"])
def test_a_taken_port_says_by_whom_and_where_to_choose_another(setting: str) -> None:
    port, process = sshd(bare())
    settings: dict[str, Any] = {setting: port}
    box = DEPLOYED.model_copy(update={"hub": Hub(**settings)})
    assert problems(box, bare()) == [
        f"port {port} is taken by sshd (process {process}): stop it, or choose another with "
        f"Hub({setting}=...)."
    ]


def test_a_port_of_another_container() -> None:
    port, _ = sshd(bare())
    hidden = with_line(bare(), r"users:.*sshd.*$", "")
    box = DEPLOYED.model_copy(update={"hub": Hub(port=port)})
    assert problems(box, hidden) == [
        f"port {port} is taken by a process that does not show itself: stop it, or choose another "
        "with Hub(port=...)."
    ]


@pytest.mark.parametrize(
    ("address", "taken"),
    [("127.0.0.1", True), ("0.0.0.0", True), ("::", True), ("192.0.2.1", False), ("::1", False)],
)
def test_a_port_is_taken_where_the_hub_would_listen(address: str, taken: bool) -> None:
    port, _ = sshd(bare())  # on 127.0.0.1
    box = DEPLOYED.model_copy(update={"hub": Hub(port=port, address=address)})
    if taken:
        assert len(problems(box, bare())) == 1
    else:
        assert run(preflight.check, box=box, says=bare()) == [FETCH, WORKSPACE]


def test_our_own_ports_are_not_taken_even_if_a_child_has_the_socket_for_a_moment() -> None:
    child = r'users:(("jupyterhub",pid=9999,fd=13),("jupyterhub"'
    shared = with_line(converged(), r'users:\(\("jupyterhub"', child)
    assert run(preflight.check, box=DEPLOYED, says=shared) == []


def test_ports_of_ours_that_another_process_has() -> None:
    _, proxy = parse_system(converged()["@@architecture"].splitlines())["ours"]
    foreign = with_line(converged(), f"^{proxy}$", "0")
    assert [p.partition(":")[0] for p in problems(DEPLOYED, foreign)] == [
        f"port {HUB.port} is taken by MainThread (process {proxy})",
        f"port {HUB.proxy_api_port} is taken by MainThread (process {proxy})",
    ]


# --- what was made by hand, and a key that is refused ---


def test_the_vendors_key_is_refused_where_apt_will() -> None:
    box = DEPLOYED.model_copy(update={"conda": Conda(source="apt")})
    assert problems(box, bare()) == [
        "this system's apt refuses the key of Anaconda's repository (its signature is SHA1-bound): "
        "take conda from its installer, Conda(source='installer')."
    ]
    assert run(preflight.check, box=box, says={**bare(), "command -v sqv": "no"}) == [WORKSPACE]


def test_an_architecture_that_conda_does_not_come_for() -> None:
    arm = {**with_line(bare(), "^amd64$", "arm64"), "command -v sqv": "no"}
    assert problems(DEPLOYED, arm) == ["Conda.installers has none for arm64: it has amd64."]
    vendors = DEPLOYED.model_copy(update={"conda": Conda(source="apt")})
    assert problems(vendors, arm) == [
        "Anaconda's apt repository has nothing for arm64: take the installer."
    ]


def test_a_conda_that_others_can_change_is_not_run_as_root() -> None:
    conda = {**state("conda/state-deployed"), "owned": False}
    assert problems(DEPLOYED, {**converged(), **programs(conda_state=conda)}) == [
        "/opt/conda can be changed by others than root, who would run what is in it: "
        "chown -R root:root /opt/conda && chmod -R go-w /opt/conda."
    ]


def test_accounts_and_groups_with_other_ids_are_known_before_anything_changes() -> None:
    box = DEPLOYED.model_copy(
        update={"users": [User(name="ops", uid=7)], "groups": [Group(name="sudo", gid=8)]}
    )
    accounts = {first_line("accounts"): recorded("users/accounts")}
    assert problems(box, {**converged(), **accounts}) == [
        "account ops has uid 1000, not 7.",
        "group sudo has gid 27, not 8.",
    ]


# --- what is fetched ---


def asked(box: Box, says: dict[str, Any]) -> list[str]:
    """The URLs that a box is asked to try."""
    with engine(says) as found:
        add_op(found, preflight.check, box=box)
        [host] = found.inventory
        assert isinstance(host.connector, FakeConnector)
        commands = host.connector.executed_commands
    questions = [command for command in commands if first_line("check_urls") in command]
    return [url for line in questions for url in json.loads(shlex.split(line)[-1])["urls"]]


def test_a_bare_box_tries_every_place_that_it_will_fetch_from() -> None:
    assert asked(DEPLOYED, bare()) == sorted(
        [
            "http://deb.debian.org/debian/dists/trixie/Release",
            "https://conda.anaconda.org/conda-forge/noarch/repodata.json",
            "https://example.org/Miniforge3.sh",
            "https://pypi.org/simple/",
            "https://registry.npmjs.org/configurable-http-proxy",
        ]
    )


def test_a_site_tries_its_mirrors(tmp_path: Path) -> None:
    mirrors = Mirrors(
        apt="http://mirror/debian",
        python="http://mirror/simple",
        npm="http://mirror/npm",
        conda="http://mirror/conda",
    )
    lock = tmp_path / "lock"
    lock.write_text(
        f"@EXPLICIT\nhttps://conda.anaconda.org/x.conda#{'0' * 64}\n"
        f"http://mirror/y.conda#{'0' * 64}"
    )
    locked = Environment(name="locked", lock=lock)
    own = Environment(name="own", conda=["a"], channels=["http://elsewhere/c", "bioconda"])
    box = DEPLOYED.model_copy(update={"mirrors": mirrors, "environments": [PYTHON3, locked, own]})
    assert asked(box, bare()) == sorted(
        [
            "http://mirror/debian/dists/trixie/Release",
            "http://mirror/conda/conda-forge/noarch/repodata.json",
            "http://mirror/conda/bioconda/noarch/repodata.json",
            "http://elsewhere/c/noarch/repodata.json",
            "http://mirror/conda/x.conda",
            "https://example.org/Miniforge3.sh",
            "http://mirror/simple/",
            "http://mirror/npm/configurable-http-proxy",
        ]
    )


@pytest.mark.parametrize(
    ("channel", "url"),
    [
        ("bioconda", "https://conda.anaconda.org/bioconda"),
        ("conda-forge/label/dev", "https://conda.anaconda.org/conda-forge/label/dev"),
        ("defaults", "https://repo.anaconda.com/pkgs/main"),
        ("pkgs/r", "https://repo.anaconda.com/pkgs/r"),
        ("https://example.org/c", "https://example.org/c"),
    ],
)
def test_where_conda_looks_for_a_channel(channel: str, url: str) -> None:
    assert preflight.channel_url(channel, Mirrors()) == url


def test_a_deployed_box_tries_nothing() -> None:
    assert asked(DEPLOYED, converged()) == []


@pytest.mark.parametrize(
    ("pip", "urls"), [([], []), (["six"], ["https://pypi.org/simple/"])], ids=["conda", "pip"]
)
def test_a_new_environment_tries_what_it_needs_alone(pip: list[str], urls: list[str]) -> None:
    new = Environment(name="new", conda=["a"], pip=pip)
    box = DEPLOYED.model_copy(update={"environments": [*DEPLOYED.environments, new]})
    channel = "https://conda.anaconda.org/conda-forge/noarch/repodata.json"
    assert asked(box, converged()) == [channel, *urls]


def test_what_does_not_answer_is_named_with_its_setting() -> None:
    dead = {
        "https://pypi.org/simple/": "timed out",
        "https://example.org/Miniforge3.sh": "404 Not Found",
        "http://deb.debian.org/debian/dists/trixie/Release": "Connection refused",
    }
    assert problems(DEPLOYED, bare(urls=dead)) == [
        "https://pypi.org/simple/ does not answer from the box (timed out): see Mirrors.python.",
        "https://example.org/Miniforge3.sh does not answer from the box (404 Not Found): see "
        "Conda.installers.",
        "http://deb.debian.org/debian/dists/trixie/Release does not answer from the box "
        "(Connection refused): see the box's apt sources.",
    ]


def test_all_problems_come_in_one_list() -> None:
    worst = with_line(bare(urls={"https://pypi.org/simple/": "timed out"}), "^systemd$", "sh")
    worst = with_line(worst, r"^(/\S+) \d+ /$", r"\1 1024 /")
    box = DEPLOYED.model_copy(update={"hub": Hub(port=sshd(bare())[0])})
    assert [problem.split()[0] for problem in problems(box, worst)] == [
        "process",
        "/",
        "port",
        "https://pypi.org/simple/",
    ]
