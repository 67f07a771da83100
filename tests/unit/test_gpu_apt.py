"""How apt is told to install a driver, and what is left of it where DKMS cannot build.

The commands run here, where dpkg and apt say what a test has them say: what is made up is their
packages. That dpkg ends with 1 where a package cannot be configured, and with 2 where somebody else
holds its lock, was seen of dpkg 1.22.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from facts.gpu import NvidiaDriver
from jupyterbox.driver_packages import DKMS, Transaction
from operations import gpu, gpu_apt
from operations.packages import READY
from tests.unit.engine import Shown, fact
from tests.unit.gpu_says import RTX_3060, driver, setup, works
from tests.unit.test_gpu_operations import run

# As on Debian 13 on 2026-11-23, with kernel 6.12.117.
ERROR = "nv-pci.c:237:9: error: too few arguments to function 'pci_resize_resource'"
MODULE, OLD, NEW = "nvidia-kernel-dkms=550", "linux-headers-6.12.100", "linux-headers-6.12.200"
META = "linux-headers-amd64"
BEFORE = [f"installed {MODULE}", f"installed {OLD}=1", f"installed {META}=1"]
UNBUILT = [f"half-configured {NEW}=2", f"unpacked {META}=2"]
DPKG_QUERY = """#!/bin/sh
shift 3
while read -r state found; do
  for pattern; do case ${{found%%=*}} in $pattern) echo "$state $found" ;; esac; done
done <{folder}/packages
"""
APT_GET = """#!/bin/sh
echo "$*" >>{folder}/asked
case $* in
*' -s '* | *' remove '*) ;;
*' install -qq '*) exit {returns} ;;
*) cp {folder}/after {folder}/packages; echo 'E: no space' >&2; exit 100 ;;
esac
"""


class Machine:
    """A machine with packages, on which apt installs others, and fails."""

    def __init__(self, folder: Path, returns: int = 0) -> None:
        self.folder = folder
        self.command("dpkg-query", DPKG_QUERY.format(folder=folder))
        self.command("apt-get", APT_GET.format(folder=folder, returns=returns))
        (folder / "asked").touch()

    def command(self, name: str, text: str) -> None:
        """Have the machine know a command."""
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def has(self, before: list[str], after: list[str]) -> None:
        """Which packages there are, before apt has begun and once it has failed."""
        for name, rows in {"packages": before, "after": after}.items():
            (self.folder / name).write_text("".join(f"{row}\n" for row in rows))

    def failed_to_build(self) -> None:
        """Have DKMS left its log."""
        (self.folder / "make.log").write_text(f"CC nv-pci.o\n{ERROR}\n")

    @property
    def log(self) -> Path:
        """Where the log is kept."""
        return self.folder / "kept.log"

    def asked(self) -> list[str]:
        """What apt was to remove, or to bring back."""
        said = (self.folder / "asked").read_text().splitlines()
        ends = [line.partition("--allow-downgrades install -qq ")[2] for line in said]
        removed = [line.rpartition("packages ")[2] for line in said if " remove " in line]
        return [end for end in ends if end and not end.startswith("-s ")] + removed

    def run(self, command: Shown) -> tuple[int, str]:
        """Run one of the deploy's commands: how it ended, and what it said was wrong."""
        text = str(command).replace("/var/lib/dkms/nvidia*/*/build", str(self.folder))
        done = subprocess.run(
            ["/bin/sh", "-c", text.replace(gpu_apt.MAKE_LOG, str(self.log))],
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr


def test_apt_is_asked_which_of_the_optional_packages_fit(tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    # One that knows neither of the packages for this kernel.
    apt.write_text(
        "#!/bin/sh\ncase $* in *-s*old-kernel*) exit 100 ;; *-s*) exit 0 ;; esac\necho ran $*\n"
    )
    apt.chmod(0o755)
    wanted = Transaction(("a", "b"), ("old-kernel", "tools"), without=("c",))
    [command] = gpu_apt.step(wanted).args
    done = subprocess.run(
        ["/bin/sh", "-c", command.get_raw_value()],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith(" install a b c- tools\n")


def commands(says: dict[Any, Any]) -> list[Shown]:
    """What a deploy runs on Debian 13: what clears, what waits, the headers, the driver."""
    found = run(gpu.driver, branch="550", says={**says, **setup("trixie")})
    assert len(found) == 4
    return found


@pytest.mark.parametrize("state", ["half-configured", "unpacked", "installed", "not-installed"])
def test_a_module_that_does_not_build_is_taken_off_again_and_told(
    tmp_path: Path, state: str
) -> None:
    *_, command = commands(driver("trixie"))
    machine = Machine(tmp_path)
    machine.has([], [f"{state} {MODULE}", "half-configured libcuda1=550"])
    machine.failed_to_build()
    code, told = machine.run(command)
    assert code == 1
    if state in ("half-configured", "unpacked"):
        assert told == (
            f"E: no space\n{ERROR}\nnvidia-kernel-dkms was not installed: does it build for every "
            f"kernel? See {machine.log}.\n"
        )
        assert machine.asked() == ["remove nvidia-kernel-dkms"]
    else:
        # Whatever else apt fails with, it says itself; what was there stays.
        assert (told, machine.asked()) == ("E: no space\n", [])


@pytest.mark.parametrize("returns", [0, 100])
def test_headers_for_which_the_module_does_not_build_are_taken_off_again(
    tmp_path: Path, returns: int
) -> None:
    _, _, command, _ = commands(driver("trixie"))
    machine = Machine(tmp_path, returns)
    others = ["half-installed linux-image-6.12.200=2", "installed linux-kbuild-6.12=2"]
    machine.has(BEFORE, [*BEFORE[:2], *UNBUILT, *others])
    machine.failed_to_build()
    code, told = machine.run(command)
    assert code == 1
    assert told == (
        f"E: no space\n{ERROR}\nNot installed: {NEW} {META}. Does the driver's module build for "
        f"that kernel? See {machine.log}.\n"
    )
    assert ERROR in machine.log.read_text()
    new = [NEW, "linux-image-6.12.200", "linux-kbuild-6.12"]
    back, *removed = machine.asked()
    assert back == f"{META}=1 {' '.join(f'{name}-' for name in new)}"
    # Where apt does not have the old ones any more.
    assert removed == ([f"remove {' '.join(new)}"] if returns else [])


def test_headers_that_are_there_stay_whatever_apt_fails_with(tmp_path: Path) -> None:
    _, _, command, _ = commands(driver("trixie"))
    machine = Machine(tmp_path)
    machine.has(BEFORE, [*BEFORE, f"installed {NEW}=2"])
    assert machine.run(command) == (1, "E: no space\n")
    assert machine.asked() == []


@pytest.mark.parametrize(
    ("packages", "failed", "removed"),
    [
        (["half-configured nvidia-kernel-dkms=550", "installed nvidia-dkms-580=580"], False, 1),
        (["unpacked nvidia-kernel-dkms=550"], False, 1),
        (["installed nvidia-kernel-dkms=550"], True, 0),
        (["unpacked nvidia-headless-no-dkms-580-server=580"], True, 0),
        (["half-configured nvidia-fs-dkms=2.26"], True, 0),
        ([*BEFORE, *UNBUILT], True, 2),
        # Nothing of DKMS's has failed: dpkg goes on with them.
        ([*BEFORE, *UNBUILT], False, 0),
        (["installed linux-headers-amd64=2"], True, 0),
        ([], True, 0),
    ],
)
def test_what_did_not_build_before_is_not_built_by_dpkg_again(
    tmp_path: Path, packages: list[str], failed: bool, removed: int
) -> None:
    cleared, ready, *_ = commands(driver("trixie"))
    assert ready == READY
    machine = Machine(tmp_path)
    machine.has(packages, [])
    if failed:
        machine.failed_to_build()
    assert machine.run(cleared) == (0, "")
    names = [NEW, META] if removed == 2 else ["nvidia-kernel-dkms"]
    assert machine.asked() == ([f"remove {' '.join(names)}"] if removed else [])


@pytest.mark.parametrize(("code", "tried"), [(0, 1), (1, 1), (2, 30)])
def test_what_cannot_be_configured_is_not_tried_again(
    tmp_path: Path, code: int, tried: int
) -> None:
    machine = Machine(tmp_path)
    machine.has([], [])
    machine.command("dpkg", f"#!/bin/sh\necho >>{tmp_path}/tried\nexit {code}\n")
    machine.command("sleep", "#!/bin/sh\n")
    machine.command("apt-get", "#!/bin/sh\n")
    assert machine.run(READY)[0] == (1 if code else 0)
    assert len((tmp_path / "tried").read_text().splitlines()) == tried


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("nvidia-dkms-580", True),
        ("nvidia-dkms-580-server-open", True),
        ("nvidia-dkms-open", True),
        ("nvidia-kernel-dkms", True),
        ("nvidia-open-kernel-dkms", True),
        ("nvidia-kernel-open-dkms", True),
        ("nvidia-tesla-535-kernel-dkms", True),
        ("nvidia-headless-no-dkms-580-server", False),
        ("nvidia-fs-dkms", False),
        ("nvidia-kernel-source-580", False),
    ],
)
def test_what_dkms_builds_of_the_driver(name: str, is_one: bool) -> None:
    assert bool(DKMS.fullmatch(name)) is is_one
    found = subprocess.run(["grep", "-xE", DKMS.pattern], input=name, text=True, stdout=-3)
    assert (found.returncode == 0) is is_one
    says = works(gpus=[(RTX_3060, "nvidia")], packages=[f"ii {name} 580.178.04-1"])
    assert fact(NvidiaDriver, says)["evidence"]["dkms"] is is_one
