"""The program that knows every kernelspec: what each starts, whether it can, and which one wins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.remote import answered, call, module

homes = module("homes")
interpreter = module("interpreter")
kernelspecs = module("kernelspecs")

ROOT = os.geteuid() == 0
IPYKERNEL = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
VERSION = f"python3.{sys.version_info[1]}"


class Box:
    """A hub, a conda and homes, in a directory that every account can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub, self.conda = folder / "hub", folder / "conda"
        self.kernels = self.hub / "share/jupyter/kernels"
        self.local, self.system = folder / "local/kernels", folder / "system/kernels"

    def python(self, prefix: Path, version: str = "python3.11", ipykernel: bool = True) -> Path:
        """An interpreter, with a kernel or without."""
        (prefix / "bin").mkdir(parents=True, exist_ok=True)
        program = prefix / "bin" / version
        program.touch()
        program.chmod(0o755)
        (prefix / "bin/python").symlink_to(version)
        if ipykernel:
            self.ipykernel(prefix / "lib" / version / "site-packages")
        return prefix / "bin/python"

    def ipykernel(self, site: Path) -> None:
        """The package, as it is installed."""
        (site / "ipykernel").mkdir(parents=True)
        (site / "ipykernel/__init__.py").touch()
        (site / "ipykernel_launcher.py").touch()

    def release(self, name: str, identity: str) -> Path:
        """A release of an environment, and the link that names it."""
        prefix = self.conda / "releases" / name / identity
        self.python(prefix)
        (prefix / "conda-meta").mkdir()
        (self.conda / "envs").mkdir(exist_ok=True)
        (self.conda / "envs" / name).symlink_to(f"../releases/{name}/{identity}")
        return prefix

    def deploy(self) -> Path:
        """A hub, and the kernelspec `python3` of its environment."""
        self.python(self.hub / "releases/h1", VERSION)
        (self.hub / "current").symlink_to("releases/h1")
        prefix = self.release("python3", "p1")
        metadata = {"jupyterbox": {"environment": "python3", "kernel": "python3"}}
        self.put(self.kernels / "python3", f"{prefix}/bin/python", metadata=metadata)
        return prefix

    def put(self, directory: Path, *argv: str | Path, **more: Any) -> Path:
        """A kernelspec; what it starts is a Python kernel where no more than a program is given."""
        words = [str(word) for word in argv]
        words += IPYKERNEL if len(words) == 1 else []
        spec = {"argv": words, "display_name": f"The {directory.name}", "language": "python"}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "kernel.json").write_text(json.dumps({**spec, **more}))
        return directory

    @property
    def arguments(self) -> dict[str, Any]:
        """What the program is asked, without users."""
        return {
            "kernels": str(self.kernels),
            "others": [
                str(self.hub / "current/share/jupyter/kernels"),
                str(self.local),
                str(self.system),
            ],
            "hub": str(self.hub),
            "conda_root": str(self.conda),
            "user": None,
            "users": False,
        }

    @property
    def state(self) -> dict[str, Any]:
        """What the program answers of the global ones."""
        found: dict[str, Any] = answered("kernelspecs", **self.arguments)
        return found

    def row(self, name: str) -> dict[str, Any]:
        """A global kernelspec."""
        [found] = [row for row in self.state["kernelspecs"] if row["name"] == name]
        return dict(found)

    def problem(self, *argv: str | Path, **more: Any) -> str | None:
        """Why a kernelspec cannot start."""
        self.put(self.local / "x", *argv, **more)
        return told(self.row("x")["problem"])


def told(reason: str | None) -> str | None:
    """A reason, whoever runs the tests: root judges global kernelspecs as an ordinary account."""
    return reason and reason.replace("for ordinary accounts", "for this account")


@pytest.fixture
def box() -> Iterator[Box]:
    # pytest's own directories are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Box(Path(folder))


class Homes:
    """Homes of accounts that are not of this host."""

    def __init__(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self.box = box
        monkeypatch.setattr(kernelspecs, "homes", self.accounts)

    def accounts(self, user: str | None) -> list[Any]:
        """Everybody's, as the program is told."""
        me = (os.geteuid(), os.getegid())
        names = sorted(path.name for path in self.box.folder.glob("home/*"))
        return [(n, *me, str(self.home(n))) for n in names if user in (None, n)]

    def home(self, user: str) -> Path:
        """Where an account lives."""
        return self.box.folder / "home" / user

    def kernels(self, user: str) -> Path:
        """Where an account's own kernelspecs lie."""
        return self.home(user) / ".local/share/jupyter/kernels"

    @property
    def state(self) -> dict[str, Any]:
        """What the program answers of everybody."""
        found: dict[str, Any] = kernelspecs.state(**{**self.box.arguments, "users": True})
        return found

    def rows(self, user: str) -> dict[str, dict[str, Any]]:
        """The kernelspecs of one, by their names."""
        return {row["name"]: row for row in self.state["kernelspecs"] if row["user"] == user}


@pytest.fixture
def people(box: Box, monkeypatch: pytest.MonkeyPatch) -> Homes:
    return Homes(box, monkeypatch)


# --- good ones ---


def test_a_bare_box(box: Box) -> None:
    assert box.state == {
        "kernelspecs": [],
        "python3_is_ours": False,
        "deployed": False,
        "skipped": {},
    }


def test_a_published_kernelspec_starts_a_release(box: Box) -> None:
    prefix = box.deploy()
    state = box.state
    assert state["kernelspecs"] == [
        {
            "name": "python3",
            "title": "The python3",
            "language": "python",
            "directory": f"{box.kernels}/python3",
            "user": None,
            "ours": True,
            "interpreter": f"{prefix}/bin/python",
            "prefix": str(prefix),
            "environment": "python3",
            "release": "p1",
            "shadowed_by": None,
            "valid_name": True,
            "problem": None,
        }
    ]
    assert state["python3_is_ours"] is state["deployed"] is True


def test_the_hubs_own_link_to_the_published_ones_is_not_counted_twice(box: Box) -> None:
    box.deploy()
    place = box.hub / "releases/h1/share/jupyter"
    place.mkdir(parents=True)
    (place / "kernels").symlink_to(box.kernels)
    assert len(box.state["kernelspecs"]) == 1


def test_one_that_a_release_of_the_hub_brings_itself_is_another(box: Box) -> None:
    box.deploy()
    box.put(box.hub / "releases/h1/share/jupyter/kernels/mine", box.hub / "releases/h1/bin/python")
    assert box.row("mine")["prefix"] == str(box.hub / "releases/h1")


@pytest.mark.parametrize(
    ("program", "environment", "release", "prefix"),
    [
        ("envs/python3/bin/python", "python3", "p1", "releases/python3/p1"),
        ("envs/hand/bin/python", "hand", None, "envs/hand"),
        ("releases/python3/p1/bin/python", "python3", "p1", "releases/python3/p1"),
        ("bin/python", "base", None, ""),
        # Where R's own installer of kernelspecs says that R is.
        ("releases/python3/p1/lib/R/bin/R", "python3", "p1", "releases/python3/p1"),
    ],
)
def test_the_environment_that_is_started(
    box: Box, program: str, environment: str, release: str | None, prefix: str
) -> None:
    release_prefix = box.deploy()
    (release_prefix / "lib/R/bin").mkdir(parents=True)
    (release_prefix / "lib/R/bin/R").touch(0o755)
    # Even of one that is damaged.
    (release_prefix / "conda-meta").rmdir()
    box.python(box.conda / "envs/hand")
    box.python(box.conda)
    (box.conda / "conda-meta").mkdir()
    box.put(box.local / "x", box.conda / program)
    row = box.row("x")
    assert row["problem"] is None
    assert (row["environment"], row["release"]) == (environment, release)
    assert Path(row["prefix"]) == box.conda / prefix


def test_a_private_environment_lies_in_a_private_conda(box: Box) -> None:
    conda = box.folder / "home/ada/miniconda3"
    (conda / "conda-meta").mkdir(parents=True)
    box.put(box.local / "x", box.python(conda / "envs/damaged"))
    row = box.row("x")
    assert (row["prefix"], row["environment"]) == (f"{conda}/envs/damaged", None)
    assert row["problem"] is None


def test_a_root_of_conda_behind_a_link(box: Box) -> None:
    box.deploy()
    disk = box.conda.rename(box.folder / "disk")
    box.conda.symlink_to(disk)
    row = box.row("python3")
    assert (row["environment"], row["release"], row["ours"]) == ("python3", "p1", True)
    assert row["prefix"] == f"{disk}/releases/python3/p1"


def test_kernels_of_other_languages_need_their_interpreter_only(box: Box) -> None:
    r = box.python(box.folder / "opt/R", "R4.2", ipykernel=False)
    box.put(box.system / "ir", r, "--slave", "-e", "IRkernel::main()", language="R")
    row = box.row("ir")
    assert (row["language"], row["problem"], row["environment"]) == ("R", None, None)
    assert row["prefix"] == str(box.folder / "opt/R")


# --- what is no kernelspec ---


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\0\0\0\0", "is empty"),
        (b'{"argv": [', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"argv": ["\xff"]}', "is not JSON"),
        (b'\xef\xbb\xbf{"argv": ["python"]}', "is not JSON"),
        (b"[]", "is not a kernelspec: it is no object"),
        (b"{}", "is not a kernelspec: argv is no command"),
        (b'{"argv": []}', "is not a kernelspec: argv is no command"),
        (b'{"argv": [""]}', "is not a kernelspec: argv is no command"),
        (b'{"argv": "python"}', "is not a kernelspec: argv is no command"),
        (b'{"argv": ["python", 3]}', "is not a kernelspec: argv is no command"),
        (b'{"argv": ["a\\u0000b"]}', "is not a kernelspec: argv is no command"),
        (b'{"argv": ["\\ud800"]}', "is not a kernelspec: argv is no command"),
        (b'{"argv": ["x"], "env": {"A": 1}}', "is not a kernelspec: env is no set of variables"),
        (b'{"argv": ["x"], "env": null}', "is not a kernelspec: env is no set of variables"),
        (b'{"argv": ["x"], "metadata": []}', "is not a kernelspec: metadata is no object"),
        (b'{"argv": ["x"], "display_name": 3}', "is not a kernelspec: display_name is no text"),
        (
            b'{"argv": ["x"], "interrupt_mode": "no"}',
            "is not a kernelspec: interrupt_mode is neither signal nor message",
        ),
    ],
)
def test_a_kernel_json_that_jupyter_refuses(box: Box, content: bytes, problem: str) -> None:
    (box.local / "x").mkdir(parents=True)
    (box.local / "x/kernel.json").write_bytes(content)
    row = box.row("x")
    assert row["problem"] == f"kernel.json {problem}"
    assert (row["title"], row["interpreter"], row["ours"]) == (None, None, False)


def test_a_kernel_json_that_is_no_page_of_text(box: Box) -> None:
    for name in ("absent", "directory", "pipe", "large"):
        (box.local / name).mkdir(parents=True)
    (box.local / "directory/kernel.json").mkdir()
    os.mkfifo(box.local / "pipe/kernel.json")
    with (box.local / "large/kernel.json").open("w") as file:
        file.write('{"argv": ["')
        for _ in range(100):
            file.write("x" * (1 << 20))
        file.write('"]}')
    (box.local / "README").write_text("is no kernelspec")
    assert {row["name"]: row["problem"] for row in box.state["kernelspecs"]} == {
        "absent": "kernel.json is not there",
        "directory": "kernel.json is not a regular file",
        "large": "kernel.json is 100 MB, too large to be one",
        "pipe": "kernel.json is not a regular file",
    }


def test_directories_that_are_links_to_nowhere(box: Box) -> None:
    box.local.mkdir(parents=True)
    (box.local / "loop").symlink_to("loop")
    (box.local / "gone").symlink_to("/nowhere")
    good = box.put(box.folder / "elsewhere/good", box.python(box.folder / "p"))
    (box.local / "good").symlink_to(good)
    assert {row["name"]: row["problem"] for row in box.state["kernelspecs"]} == {
        "gone": "its directory is a link that leads nowhere",
        "good": None,
        "loop": "its directory is a link that leads nowhere",
    }


def test_places_that_cannot_be_listed_are_skipped_by_name(box: Box) -> None:
    box.deploy()
    box.local.parent.mkdir()
    box.local.symlink_to("kernels")
    box.put(box.system / "x", box.python(box.folder / "p")).parent.chmod(0)
    state = box.state
    box.system.chmod(0o755)
    assert [row["name"] for row in state["kernelspecs"]] == ["python3"]
    assert {path: told(reason) for path, reason in state["skipped"].items()} == {
        str(box.local): f"{box.local} cannot be read: Too many levels of symbolic links",
        str(box.system): f"{box.system} is not readable for this account",
    }


def test_a_place_that_is_a_file_is_none(box: Box) -> None:
    box.local.parent.mkdir()
    box.local.touch()
    assert box.state["kernelspecs"] == []
    assert box.state["skipped"] == {}


def test_one_that_is_closed_is_so_for_everybody(box: Box) -> None:
    directory = box.put(box.local / "x", box.python(box.folder / "p"))
    for closed in (directory, directory / "kernel.json"):
        before = closed.stat().st_mode
        # As `umask 077` leaves it: root can read it, and starts no kernel.
        closed.chmod(0o700 if ROOT else 0)
        assert told(box.row("x")["problem"]) == "kernel.json is not readable for this account"
        closed.chmod(before)
    assert box.row("x")["problem"] is None


@pytest.mark.parametrize("name", ['it\'s "odd"\nreally', "b\udcff", "\u017f", "a b"])
def test_odd_names(box: Box, name: str) -> None:
    box.put(box.local / name, box.python(box.folder / "p"))
    [row] = box.state["kernelspecs"]
    assert row["name"] == name.replace("\udcff", "\\xff")
    assert (row["valid_name"], row["problem"]) == (False, None)


# --- the interpreter ---


def test_an_interpreter_that_cannot_be_started(box: Box) -> None:
    program = box.folder / "p/bin/python"
    assert box.problem(program) == f"interpreter {program} is missing"
    program.parent.mkdir(parents=True)
    program.symlink_to("python3.9")
    assert box.problem(program) == f"interpreter {program} is a dangling link"
    (program.parent / "python3.9").touch(0o644)
    assert box.problem(program) == f"interpreter {program} is not executable"
    (program.parent / "python3.9").chmod(0o754 if ROOT else 0o655)
    assert box.problem(program) == f"interpreter {program} is not executable for this account"
    (program.parent / "python3.9").unlink()
    (program.parent / "python3.9").mkdir()
    assert box.problem(program) == f"interpreter {program} is not a file"
    assert box.problem(f"{program}/x") == f"interpreter {program}/x is missing"
    assert box.problem("bin/python") == "interpreter bin/python is not an absolute path"


def test_an_interpreter_behind_a_closed_directory(box: Box) -> None:
    program = box.python(box.folder / "closed/p")
    program.parents[2].chmod(0o700 if ROOT else 0)
    assert box.problem(program) == f"interpreter {program} is not readable for this account"
    program.parents[2].chmod(0o755)


def test_a_release_that_is_gone(box: Box) -> None:
    prefix = box.deploy()
    prefix.rename(prefix.parent / "p2")
    row = box.row("python3")
    assert row["problem"] == f"its release {prefix} is gone"
    assert (row["environment"], row["release"], row["ours"]) == ("python3", "p1", True)
    # Through the link that named it.
    assert box.problem(box.conda / "envs/python3/bin/python") == f"its release {prefix} is gone"
    old = box.hub / "releases/h0"
    assert box.problem(old / "bin/python") == f"its release {old} is gone"
    # What is missing in a release that is there is another matter.
    (prefix.parent / "p2/bin/python3.11").unlink()
    program = prefix.parent / "p2/bin/python"
    assert box.problem(program) == f"interpreter {program} is a dangling link"


def test_a_name_is_looked_for_in_path(box: Box) -> None:
    program = box.python(box.folder / "p", "xr", ipykernel=False)
    path = {"PATH": f"relative::{box.folder}/nowhere:{program.parent}:${{PATH}}"}
    assert box.problem("xr", "-f", "{connection_file}", env=path) is None
    assert box.row("x")["interpreter"] == f"{program.parent}/xr"
    assert box.problem("xr", "-f", env={"PATH": "${PATH}"}) == "interpreter xr is not in PATH"
    assert box.row("x")["interpreter"] == "xr"
    assert box.problem("sh", "-c", "true") is None
    assert box.row("x")["interpreter"] in ("/usr/bin/sh", "/bin/sh")


def test_python_without_a_path_is_the_servers_own_whatever_path_says(box: Box) -> None:
    other = box.python(box.folder / "p", "python3.9")
    path = {"PATH": f"{other.parent}:${{PATH}}"}
    assert box.problem("python", env=path) is None
    assert box.row("x")["interpreter"] == str(other)
    box.deploy()
    for name in ("python", VERSION):
        box.problem(name, env=path)
        assert box.row("x")["interpreter"] == f"{box.hub}/releases/h1/bin/python"
    box.problem("python3.9", env=path)
    assert box.row("x")["interpreter"] == f"{other}3.9"


def test_places_that_jupyter_fills_in(box: Box) -> None:
    box.deploy()
    assert box.problem("{prefix}/bin/python") is None
    box.python(box.local / "x")
    assert box.problem("{resource_dir}/bin/python") is None
    assert box.row("x")["interpreter"] == f"{box.local}/x/bin/python"
    # It may be in some homes.
    assert box.problem("~/bin/python") is None


# --- ipykernel ---


def absent(prefix: Path, version: str = "python3.11", what: str = "ipykernel") -> str:
    """What is said of an environment without a kernel."""
    return f"{what} is not installed in {prefix} for {version}"


def test_an_environment_without_ipykernel(box: Box) -> None:
    prefix = box.folder / "p"
    program = box.python(prefix, ipykernel=False)
    assert box.problem(program) == absent(prefix)
    assert box.problem(program, "-Xfrozen_modules=off", "-X", "dev", *IPYKERNEL) == absent(prefix)
    assert box.problem(program, "-m", "ipykernel") == absent(prefix)
    # Those find their own ways.
    assert box.problem(program, "-m", "bash_kernel") is None
    assert box.problem(program, "start.py", *IPYKERNEL) is None
    assert box.problem(program, "-c", "import x", *IPYKERNEL) is None
    wrapper = box.python(box.folder / "w", "wrapper", ipykernel=False).with_name("wrapper")
    assert box.problem(wrapper, *IPYKERNEL) is None
    # What another Python left behind is none of this one's.
    box.ipykernel(prefix / "lib/python3.10/site-packages")
    assert box.problem(program) == absent(prefix)
    box.ipykernel(prefix / "lib/python3.11/site-packages")
    assert box.problem(program) is None
    (prefix / "lib/python3.11/site-packages/ipykernel_launcher.py").unlink()
    assert box.problem(program) == absent(prefix, what="ipykernel_launcher.py")
    assert box.problem(program, "-m", "ipykernel") is None


def test_an_interpreter_that_does_not_tell_its_version(box: Box) -> None:
    prefix = box.folder / "p"
    program = prefix / "bin/python"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    assert box.problem(program) == f"ipykernel is not installed in {prefix}"
    box.ipykernel(prefix / "lib/python3.12/site-packages")
    assert box.problem(program) is None


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("copies", [True, False])
def test_a_venv_may_share_what_its_python_has(box: Box, shared: bool, copies: bool) -> None:
    base, venv = box.folder / "usr", box.folder / "venv"
    box.python(base)
    venv_python = box.python(venv, ipykernel=False)
    if not copies:
        (venv / "bin/python3.11").unlink()
        (venv / "bin/python3.11").symlink_to(base / "bin/python3.11")
    home = f"home = {base}/bin" if copies else ""
    include = f"include-system-site-packages = {str(shared).lower()}"
    (venv / "pyvenv.cfg").write_text(f"{home}\n{include}\nversion = 3.11.2\n")
    assert box.problem(venv_python) == (None if shared else absent(venv))
    assert box.row("x")["prefix"] == str(venv)


def test_a_venv_whose_python_was_upgraded(box: Box) -> None:
    venv, usr = box.folder / "venv", box.folder / "usr"
    program = box.python(venv)
    (venv / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    assert box.problem(program) is None
    box.python(usr, "python3.13", ipykernel=False)
    program.unlink()
    program.symlink_to(usr / "bin/python")
    assert box.problem(program) == absent(venv, "python3.13")


def test_debians_own_packages(box: Box) -> None:
    usr = box.folder / "usr"
    program = box.python(usr, ipykernel=False)
    assert box.problem(program) == absent(usr)
    box.ipykernel(usr / "lib/python3/dist-packages")
    assert box.problem(program) is None


def test_packages_that_lie_elsewhere(box: Box) -> None:
    prefix, elsewhere = box.folder / "p", box.folder / "elsewhere"
    program = box.python(prefix, ipykernel=False)
    box.ipykernel(elsewhere)
    assert box.problem(program, env={"PYTHONPATH": f"x:{elsewhere}"}) is None
    assert box.problem(program) == absent(prefix)
    site = prefix / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    (site / "other.pth").write_text("import os; print()\n\n/nowhere\n")
    assert box.problem(program) == absent(prefix)
    (site / "my.pth").write_text(f"{elsewhere}\n")
    assert box.problem(program) is None
    (site / "my.pth").rename(site / "__editable___ipykernel_7_finder.py")
    assert box.problem(program) is None


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="made with the system's Python")
def test_real_venvs(box: Box) -> None:
    made = [box.folder / "plain", box.folder / "shared"]
    for venv, options in zip(made, ([], ["--system-site-packages"]), strict=True):
        command = ["/usr/bin/python3", "-m", "venv", "--without-pip", *options, str(venv)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("the system's Python makes no venvs")
    version = os.path.basename(os.path.realpath(made[0] / "bin/python"))
    assert box.problem(made[0] / "bin/python") == absent(made[0], version)
    box.ipykernel(made[0] / "lib" / version / "site-packages")
    assert box.problem(made[0] / "bin/python") is None
    assert box.row("x")["prefix"] == str(made[0])
    code = "import sys; print('\\n'.join(sys.path))"
    known = subprocess.check_output([made[1] / "bin/python", "-c", code], text=True).split()
    mine = interpreter.sites_of(
        str(made[1] / "bin/python"), str(made[1]), version, {}, os.path.expanduser("~")
    )
    assert {path for path in known if path.endswith("-packages")} <= set(mine)


# --- which one wins ---


def test_an_earlier_place_wins_whatever_the_case(box: Box) -> None:
    prefix = box.deploy()
    box.put(box.local / "Python3", prefix / "bin/python")
    box.put(box.system / "python3", prefix / "bin/python")
    box.put(box.system / "python", prefix / "bin/python")
    box.put(box.system / "other", prefix / "bin/python")
    ours = f"{box.kernels}/python3"
    assert [(row["name"], row["shadowed_by"]) for row in box.state["kernelspecs"]] == [
        ("Python3", ours),
        ("other", None),
        # Jupyter takes this name for the other.
        ("python", ours),
        ("python3", None),
        ("python3", ours),
    ]


def test_what_jupyter_does_not_see_hides_nothing(box: Box) -> None:
    prefix = box.deploy()
    (box.kernels / "a").mkdir()
    (box.kernels / "b").mkdir()
    (box.kernels / "b/kernel.json").write_text("no JSON, and yet it is the one")
    for name in "ab":
        box.put(box.local / name, prefix / "bin/python")
    hidden = {row["directory"]: row["shadowed_by"] for row in box.state["kernelspecs"]}
    assert hidden[f"{box.local}/a"] is None
    assert hidden[f"{box.local}/b"] == f"{box.kernels}/b"


def test_python3_is_ours_or_not(box: Box) -> None:
    prefix = box.deploy()
    spec = box.kernels / "python3/kernel.json"
    good = spec.read_text()
    assert box.state["python3_is_ours"]
    for other in (
        good.replace("jupyterbox", "somebody"),
        good.replace(str(prefix), "/usr"),
        "no JSON",
    ):
        spec.write_text(other)
        assert not box.state["python3_is_ours"]
    # One that lies elsewhere was not published, whatever it says.
    (box.local).mkdir(parents=True)
    spec.write_text(good)
    spec.parent.rename(box.local / "python3")
    assert not box.row("python3")["ours"]
    assert not box.state["python3_is_ours"]


# --- users' own ---


def test_each_users_own_after_the_published_and_before_the_others(box: Box, people: Homes) -> None:
    prefix = box.deploy()
    tf2 = box.python(people.home("ada") / ".conda/envs/tf2")
    box.put(people.kernels("ada") / "tf2", tf2)
    box.put(people.kernels("ada") / "Python3", tf2)
    box.put(people.kernels("ada") / "x", tf2)
    box.put(people.home("ada") / ".ipython/kernels/x", tf2)
    box.put(people.kernels("bob") / "tf2", people.home("bob") / "env/bin/python")
    box.put(box.local / "x", prefix / "bin/python")
    state = people.state
    ranked = [(row["user"], row["name"]) for row in state["kernelspecs"]]
    assert ranked == [
        (None, "python3"),
        (None, "x"),
        ("ada", "Python3"),
        ("ada", "tf2"),
        ("ada", "x"),
        ("ada", "x"),
        ("bob", "tf2"),
    ]
    rows = state["kernelspecs"]
    own = f"{people.kernels('ada')}/x"
    assert [row["shadowed_by"] for row in rows] == [
        *(None, None, f"{box.kernels}/python3", None, None, own, None),
    ]
    assert rows[3]["prefix"] == str(people.home("ada") / ".conda/envs/tf2")
    assert rows[3]["environment"] is None
    assert rows[6]["problem"] == f"interpreter {people.home('bob')}/env/bin/python is missing"
    assert state["skipped"] == {}


def test_a_users_own_home_and_packages_count(box: Box, people: Homes) -> None:
    usr, home = box.folder / "usr", people.home("ada")
    program = box.python(usr, ipykernel=False)
    box.put(people.kernels("ada") / "x", program)
    assert people.rows("ada")["x"]["problem"] == absent(usr)
    box.ipykernel(home / ".local/lib/python3.11/site-packages")
    assert people.rows("ada")["x"]["problem"] is None
    box.put(people.kernels("ada") / "x", program, env={"PYTHONNOUSERSITE": "1"})
    assert people.rows("ada")["x"]["problem"] == absent(usr)
    (usr / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    box.put(people.kernels("ada") / "x", program)
    assert people.rows("ada")["x"]["problem"] == absent(usr)
    box.python(home / "p")
    box.put(people.kernels("ada") / "x", "~/p/bin/python")
    assert people.rows("ada")["x"]["interpreter"] == f"{home}/p/bin/python"
    box.put(people.kernels("ada") / "x", "python3.11", env={"PATH": "${HOME}/p/bin"})
    assert people.rows("ada")["x"]["interpreter"] == f"{home}/p/bin/python3.11"


def test_a_home_that_is_not_there_or_no_directory_is_quiet(box: Box, people: Homes) -> None:
    people.home("ada").parent.mkdir()
    people.home("ada").touch()
    assert people.state["kernelspecs"] == []
    assert people.state["skipped"] == {}


def test_what_a_user_has_closed_is_named_and_the_rest_answers(box: Box, people: Homes) -> None:
    people.kernels("ada").parent.mkdir(parents=True)
    people.kernels("ada").symlink_to("kernels")
    box.put(people.home("ada") / ".ipython/kernels/x", box.python(box.folder / "p"))
    box.put(people.kernels("bob") / "y", box.folder / "p/bin/python")
    state = people.state
    assert [row["name"] for row in state["kernelspecs"]] == ["x", "y"]
    reason = f"{people.kernels('ada')} cannot be read: Too many levels of symbolic links"
    assert state["skipped"] == {"ada": reason}


def test_a_program_that_hangs_is_named_and_nothing_else_suffers(
    box: Box, people: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "TIMEOUT", 0.5)
    trouble = interpreter.trouble

    def hangs(program: str) -> Any:
        return time.sleep(60) if program.startswith("/dead") else trouble(program)

    monkeypatch.setattr(kernelspecs, "trouble", hangs)
    box.deploy()
    good = box.python(box.folder / "p")
    for kernels in (box.local, people.kernels("ada")):
        box.put(kernels / "dead", "/dead/bin/python")
        box.put(kernels / "good", good)
    state = people.state
    slow = "/dead/bin/python did not answer within 0 s"
    assert [(row["name"], row["problem"]) for row in state["kernelspecs"]] == [
        *(("dead", slow), ("good", None), ("python3", None)),
        *(("dead", slow), ("good", None)),
    ]
    assert (state["skipped"], state["python3_is_ours"]) == ({}, True)


def test_a_place_that_hangs_is_skipped_by_name(
    box: Box, people: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "TIMEOUT", 0.5)
    listdir = os.listdir

    def hangs(folder: str) -> Any:
        if folder in (str(box.local), str(people.kernels("ada"))):
            time.sleep(60)
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", hangs)
    box.deploy()
    people.kernels("ada").mkdir(parents=True)
    box.put(people.kernels("bob") / "y", box.python(box.folder / "p"))
    state = people.state
    assert [row["name"] for row in state["kernelspecs"]] == ["python3", "y"]
    assert state["skipped"] == {
        str(box.local): f"{box.local} did not answer within 0 s",
        "ada": f"{people.home('ada')} did not answer within 0 s",
    }


def test_homes_of_others_need_root(box: Box) -> None:
    as_user = 65534 if ROOT else None
    for user in (None, "root"):
        asked = {**box.arguments, "users": True, "user": user}
        done = call("kernelspecs", as_user=as_user, **asked)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "the homes of others can only be read by root: run this fact with _sudo=true.\n"
        )
    done = call("kernelspecs", as_user=as_user, **box.arguments)
    assert json.loads(done.stdout)["kernelspecs"] == []


@pytest.mark.skipif(not ROOT, reason="only root can be somebody else")
def test_ones_own_home_needs_no_root(box: Box) -> None:
    arguments = {**box.arguments, "users": True, "user": "nobody"}
    done = call("kernelspecs", as_user=65534, **arguments)
    assert done.returncode == 0, done.stderr


def test_an_account_that_is_not_there_is_said(box: Box) -> None:
    done = call("kernelspecs", **{**box.arguments, "users": True, "user": "no-such-account"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the box has no account 'no-such-account'.\n"


# --- whatever people write ---

TEXT = st.text(max_size=20) | st.sampled_from(["python", "/bin/sh", "~/x", "{prefix}", "-m"])
LIKE_SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "argv": st.lists(TEXT, max_size=4) | TEXT,
        "env": st.dictionaries(TEXT | st.just("PATH") | st.just("PYTHONPATH"), TEXT),
        "metadata": st.dictionaries(TEXT, TEXT) | st.just({"jupyterbox": {}}),
        "display_name": TEXT | st.integers(),
        "language": TEXT,
    },
)


@given(content=st.binary() | LIKE_SPECS.map(lambda spec: json.dumps(spec).encode()))
def test_any_kernel_json_makes_a_row(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x").mkdir()
        Path(folder, "x/kernel.json").write_bytes(content)
        [spec] = kernelspecs.specs_in(folder, folder, f"{folder}/hub", folder)
        row = spec["row"]
        if spec["start"]:
            row.update(kernelspecs.judge(spec["start"], f"{folder}/conda", f"{folder}/hub"))
    assert (row["interpreter"] is None) == (spec["start"] is None)
    assert row["interpreter"] or row["problem"].startswith("kernel.json is ")
    json.dumps(row)


def test_what_is_as_long_as_a_book_is_cut(box: Box) -> None:
    box.problem(f"{box.conda}/envs/{'x' * 10_000}/bin/python", display_name="y" * 10_000)
    row = box.row("x")
    assert len(json.dumps(row)) < 5_000
    assert row["problem"].startswith("interpreter ")
