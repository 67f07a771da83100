"""The module is replaced, or all is as it was: on a tree, with programs that stand for real ones.

Synthetic: no module of NVIDIA's was ever unloaded for it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterbox.program import program
from operations.gpu_reload import SERVICES

MODPROBE = """
case $1 in
-r)
  if [ -e {root}/in-use-$2 ]; then echo "modprobe: FATAL: Module $2 is in use." >&2; exit 1; fi
  rm -r {root}/sys/module/$2 ;;
*)
  if [ -e {root}/fails-$1 ]; then echo "modprobe: ERROR: could not insert '$1'" >&2; exit 1; fi
  mkdir -p {root}/sys/module/$1/holders ;;
esac
"""
SYSTEMCTL = """
verb=$1; shift
case $verb in
show)
  while [ "$1" != -- ]; do shift; done; shift
  for unit; do
    state=inactive; [ ! -e {root}/active/$unit ] || state=active
    printf 'Id=%s\\nActiveState=%s\\nRequiredBy=%s\\n\\n' $unit $state \
      "$(cat {root}/required-by/$unit 2>/dev/null)"
  done ;;
stop)
  for unit; do rm {root}/active/$unit; done
  if [ -e {root}/opens ]; then mv {root}/opens {root}/proc/99; fi ;;
start) touch {root}/active/$1 ;;
esac
"""
DAEMON, DCGM, FABRIC = (
    f"nvidia-{name}.service" for name in ("persistenced", "dcgm", "fabricmanager")
)
EXPORTER = "dcgm-exporter.service"


class Tree:
    """A box with modules loaded and services that run; what is run on it is noted."""

    def __init__(self, root: Path) -> None:
        self.root, self.undo = root, root / "undo"
        for folder in ("proc", "bin", "active", "required-by"):
            (root / folder).mkdir()
        for name in ("nvidia", "nvidia_uvm", "nvidia_modeset"):
            (root / "sys/module" / name / "holders").mkdir(parents=True)
        self.does("modprobe", MODPROBE)
        self.does("systemctl", SYSTEMCTL)
        for unit in (DAEMON, DCGM, EXPORTER):
            (root / "active" / unit).touch()
        (root / "required-by" / DCGM).write_text(f"{EXPORTER} some.target")

    def does(self, name: str, text: str) -> None:
        """What a program does here."""
        path = self.root / "bin" / name
        noted = f'echo "{name} $*" >>{self.root}/log' if name == "modprobe" else ":"
        path.write_text(f"#!/bin/sh\n{noted}\n{text.replace('{root}', str(self.root))}")
        path.chmod(0o755)

    def process(self, pid: int, name: str, unit: str, at: str = "proc/{pid}") -> None:
        """A process that has a GPU open."""
        folder = self.root / at.format(pid=pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "fd/3").symlink_to("/dev/nvidia0")
        (folder / "comm").write_text(f"{name}\n")
        (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")

    def reload(self) -> subprocess.CompletedProcess[str]:
        """Run the program as systemd would."""
        _, *options, source, given = program(
            "reload_driver", services=SERVICES, undo=str(self.undo), root=str(self.root)
        ).bits
        return subprocess.run(
            [sys.executable, *options, source.obj, given.obj],
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def log(self) -> list[str]:
        """What was loaded and unloaded."""
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []

    def as_it_was(self) -> bool:
        """Whether the same modules are loaded and the same services run, and nothing is left."""
        modules = {path.name for path in (self.root / "sys/module").iterdir()}
        active = {path.name for path in (self.root / "active").iterdir()}
        return (
            modules == {"nvidia", "nvidia_uvm", "nvidia_modeset"}
            and active == {DAEMON, DCGM, EXPORTER}
            and not self.undo.exists()
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_what_was_loaded_is_loaded_anew_and_what_ran_runs(tree: Tree) -> None:
    done = tree.reload()
    assert (done.returncode, done.stderr) == (0, "")
    assert tree.log == [
        "modprobe -r nvidia_modeset",
        "modprobe -r nvidia_uvm",
        "modprobe -r nvidia",
        "modprobe nvidia",
        "modprobe nvidia_uvm",
        "modprobe nvidia_modeset",
    ]
    # Neither nvidia-fabricmanager, which did not run, nor what only has the name of a service.
    assert tree.as_it_was()


def test_the_module_for_cuda_is_loaded_where_it_was_not(tree: Tree) -> None:
    (tree.root / "sys/module/nvidia_uvm/holders").rmdir()
    (tree.root / "sys/module/nvidia_uvm").rmdir()
    assert tree.reload().returncode == 0
    assert tree.as_it_was()


def test_a_module_that_cannot_be_unloaded_leaves_all_as_it_was(tree: Tree) -> None:
    (tree.root / "in-use-nvidia").touch()
    done = tree.reload()
    assert done.returncode == 1
    assert done.stderr == (
        "The driver was not replaced: `modprobe -r nvidia` failed: modprobe: FATAL: Module nvidia "
        "is in use.\n"
    )
    assert "modprobe -r nvidia_uvm" in tree.log
    assert tree.as_it_was()


def test_whoever_opens_the_gpu_before_is_told_and_nothing_is_stopped(tree: Tree) -> None:
    tree.process(12, "python", "jupyter-ada-singleuser.service")
    tree.process(13, "nv-hostengine", DCGM)
    tree.does("systemctl", "exit 1")
    done = tree.reload()
    assert done.returncode == 1
    assert done.stderr == (
        "The driver was not replaced: process 12 (python) has taken hold of it meanwhile.\n"
    )
    assert tree.log == [] and tree.as_it_was()


def test_whoever_opens_the_gpu_while_services_stop_keeps_it(tree: Tree) -> None:
    tree.process(99, "python", "jupyter-ada-singleuser.service", at="opens")
    done = tree.reload()
    assert "process 99 (python) has taken hold of it meanwhile" in done.stderr
    assert not [line for line in tree.log if " -r " in line]
    assert tree.as_it_was()


def test_a_service_that_does_not_stop_is_told_and_runs_on(tree: Tree) -> None:
    stops = SYSTEMCTL.replace("for unit; do rm", "echo 'Job failed.' >&2; exit 1; for unit; do rm")
    tree.does("systemctl", stops)
    done = tree.reload()
    assert re.search(r"`systemctl stop .*` failed: Job failed\.$", done.stderr)
    assert tree.as_it_was()


def test_what_cannot_be_put_back_is_told_and_the_rest_is_back(tree: Tree) -> None:
    (tree.root / "fails-nvidia_uvm").touch()
    done = tree.reload()
    assert done.returncode == 1
    assert done.stderr == (
        "Not all of it is back (modprobe: ERROR: could not insert 'nvidia_uvm'): plan a reboot "
        "(tasks/reboot.py).\n"
    )
    assert {path.name for path in (tree.root / "active").iterdir()} == {DAEMON, DCGM, EXPORTER}
    assert (tree.root / "sys/module/nvidia_modeset").exists()


@pytest.mark.parametrize("module", ["nvidia_uvm", "nvidia"])
def test_what_a_run_took_that_was_killed_is_put_back(tree: Tree, module: str) -> None:
    killing = f'[ "$*" != "-r {module}" ] || kill -9 $PPID\n'
    tree.does("modprobe", killing + MODPROBE)
    assert tree.reload().returncode == -signal.SIGKILL
    assert not tree.as_it_was() and tree.undo.exists()
    tree.does("modprobe", MODPROBE)
    # By systemd, when its program has ended.
    path = f"{tree.root}/bin:/usr/bin:/bin"
    subprocess.run(["/bin/sh", tree.undo], env={"PATH": path}, check=True, timeout=60)
    assert tree.as_it_was()


def test_the_next_run_puts_back_first_and_knows_what_ran(tree: Tree) -> None:
    killing = '[ "$*" != "-r nvidia" ] || kill -9 $PPID\n'
    tree.does("modprobe", killing + MODPROBE)
    assert tree.reload().returncode == -signal.SIGKILL
    assert os.listdir(tree.root / "active") == []
    tree.does("modprobe", MODPROBE)
    assert tree.reload().returncode == 0
    assert tree.as_it_was()
