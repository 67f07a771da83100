"""A box with NVIDIA GPUs: this machine, with another /sys, /proc/driver, /dev and packages mounted.

The commands of facts run in there unchanged. What they find is read from recordings of real boxes
(tests/recorded/nvidia), or made of names and versions that a test chooses. Needs root: mounts are
made in a namespace of their own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand

NVIDIA = Path(__file__).parents[1] / "recorded/nvidia"
KERNEL = "6.8.0-136-generic"

# Of these there is nothing but what a test puts there; the rest is laid over the machine's own.
REPLACED = ["boot", "dev", "etc/apt", "etc/modprobe.d", "fake", "proc/driver", "run", "sys"]
REPLACED += ["usr/lib/modprobe.d", "usr/lib/modules"]
ENTER = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/root" "$1/work"
cp -a "$2" "$1/files"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/files,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
command=$3
mount=$1 box=$2
shift 3
for place; do mount --bind "$box/$place" "$mount/root/$place"; done
mount --bind /dev/null "$mount/root/dev/null"
exec chroot "$mount/root" sh -c "$command"
"""
UNAME = "#!/bin/sh\nexec cat /fake/kernel\n"
MODINFO = """#!/bin/sh
kernel=$(uname -r)
while [ $# -gt 1 ]; do case $1 in -k) kernel=$2 ;; -F) field=$2 ;; esac; shift 2; done
said=/fake/modinfo/$kernel/$1
[ -e "$said" ] || { cat /fake/modinfo/not-found >&2; exit 1; }
if [ "$field" ]; then sed -n "s/^$field: *//p" "$said"; else cat "$said"; fi
"""
SMI = """#!/bin/sh
case $1 in --query-gpu=*) what=table ;; -q) what=report ;; -L) what=list ;; *) exit 2 ;; esac
cat /fake/says/smi-$what
exit {code}
"""
MOKUTIL = """#!/bin/sh
case $1 in --sb-state) what=state ;; --list-enrolled) what=list ;; --test-key) what=test ;; esac
[ "$what" != test ] || [ -e "$2" ] || { echo "Failed to open $2" >&2; exit 255; }
cat /fake/says/mokutil-$what
exit {code}
"""
LICENSES = {"open": "Dual MIT/GPL", "proprietary": "NVIDIA"}
NVRM = {
    "open": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n",
    "proprietary": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Jun 23\n",
}
STATES = {
    "ii": "install ok installed",
    "hi": "hold ok installed",
    "rc": "deinstall ok config-files",
    "iH": "install ok half-installed",
    "iU": "install ok unpacked",
    "iF": "install ok half-configured",
    "iW": "install ok triggers-awaited\nTriggers-Awaited: libc-bin",
}
FUNCTION = re.compile(r"^(\S+) [^\[]+\[([0-9a-f]{4})\]: .*\[10de:([0-9a-f]{4})\]")
IN_USE = re.compile(r"\s*Kernel driver in use: (\S+)")


def said(name: str) -> str:
    """A recording of NVIDIA's tools, as it was printed."""
    return (NVIDIA / name).read_text()


TRAPS = ["nvidia-smi", "nvidia-modprobe", "modprobe", "insmod", "rmmod", "dkms"]
"""What may load a module or touch a GPU: on such a box, it only notes that it was started."""

WORKING = "595.84"
"""The driver of a box whose driver works."""


class NvidiaBox:
    """A box, and what was started on it that must not be."""

    def __init__(self, folder: Path) -> None:
        self.box, self.mount = folder / "box", folder / "mount"
        self.mount.mkdir(parents=True)
        for place in REPLACED:
            (self.box / place).mkdir(parents=True)
        self.write("dev/null", "")
        self.write("var/lib/dpkg/status", "")
        self.write("fake/modinfo/not-found", said("modinfo/not-found.txt"))
        self.command("uname", UNAME)
        self.command("modinfo", MODINFO)
        for name in ("ldconfig", "systemctl"):
            self.says(name, "")
        self.command("mokutil", "#!/bin/sh\nexit 1\n")
        for name in TRAPS:
            self.command(name, f"#!/bin/sh\necho {name} >> /fake/started\n")
        self.system("ubuntu")
        self.kernel(KERNEL, running=True)

    def write(self, path: str, text: str | bytes) -> None:
        """Make a file of the box's."""
        file = self.box / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def command(self, name: str, text: str) -> None:
        """Have the box know a command."""
        self.write(f"fake/bin/{name}", text)
        (self.box / "fake/bin" / name).chmod(0o755)

    def says(self, name: str, text: str) -> None:
        """Have a command print something, whatever it is asked."""
        self.write(f"fake/says/{name}", text)
        self.command(name, f"#!/bin/sh\ncat /fake/says/{name}\n")

    def smi(self, table: str = "", report: str = "", listed: str = "", code: int = 0) -> None:
        """Have nvidia-smi answer the three questions that it is asked, and no other."""
        for name, text in {"table": table, "report": report, "list": listed}.items():
            self.write(f"fake/says/smi-{name}", text)
        self.command("nvidia-smi", SMI.format(code=code))

    def system(self, name: str) -> None:
        """Have it be an Ubuntu, or a Debian."""
        self.write("etc/os-release", f"ID={name}\n")

    def kernel(self, release: str, running: bool = False) -> None:
        """Install a kernel."""
        if running:
            self.write("fake/kernel", f"{release}\n")
        self.write(f"boot/vmlinuz-{release}", "")
        (self.box / "usr/lib/modules" / release).mkdir(parents=True, exist_ok=True)

    def headers(self, release: str = KERNEL) -> None:
        """Install a kernel's headers."""
        self.write(f"usr/lib/modules/{release}/build/Makefile", "")

    def module(
        self,
        version: str,
        release: str = KERNEL,
        flavour: str = "open",
        name: str = "nvidia",
        signer: str = "",
        key: str = "",
    ) -> None:
        """Install the driver's module for a kernel, perhaps signed with a key of this number."""
        lines = [f"filename:       /lib/modules/{release}/updates/dkms/{name}.ko"]
        lines += [f"version:        {version}", f"license:        {LICENSES[flavour]}"]
        lines += [f"signer:         {signer}"] if signer else []
        lines += [f"sig_key:        {key}"] if key else []
        self.write(f"fake/modinfo/{release}/{name}", "\n".join(lines) + "\n")

    def load(self, version: str, flavour: str = "open", nvrm: str = "", uvm: bool = True) -> None:
        """Load the driver's module, and the one for CUDA."""
        self.write("sys/module/nvidia/version", f"{version}\n")
        self.write("proc/driver/nvidia/version", nvrm or NVRM[flavour].format(version=version))
        if uvm:
            self.write("sys/module/nvidia_uvm/initstate", "live\n")
            self.write("dev/nvidia-uvm", "")

    def secure_boot(self, listed: str = "", tested: str = "", code: int = 0) -> None:
        """Switch it on; what mokutil says of the keys that are enrolled, and of DKMS's."""
        for name, text in {
            "state": said("mokutil-sb-state/enabled.txt"),
            "list": listed,
            "test": tested,
        }.items():
            self.write(f"fake/says/mokutil-{name}", text)
        self.command("mokutil", MOKUTIL.replace("{code}", str(code)))

    def libraries(self, version: str) -> None:
        """Install the driver's libraries."""
        lines, folder = "", "/usr/lib/x86_64-linux-gnu"
        for name in ("libnvidia-ml", "libcuda"):
            self.write(f"{folder[1:]}/{name}.so.{version}", "")
            (self.box / f"{folder[1:]}/{name}.so.1").symlink_to(f"{name}.so.{version}")
            lines += f"\t{name}.so.1 (libc6,x86-64) => {folder}/{name}.so.1\n"
        self.says("ldconfig", lines)

    def device(
        self,
        address: str,
        device: str,
        driver: str | None = "nvidia",
        kind: str = "0300",
        lost: bool = False,
    ) -> None:
        """Put something of NVIDIA's onto the PCI bus, and have a driver take it."""
        folder = f"sys/bus/pci/devices/{address}"
        self.write(f"{folder}/vendor", "0x10de\n")
        self.write(f"{folder}/class", f"0x{kind}00\n")
        self.write(f"{folder}/device", f"0x{device}\n")
        self.write(f"{folder}/config", b"\xff" * 64 if lost else b"\xde\x10" + b"\0" * 62)
        if driver:
            (self.box / folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")

    def lspci(self, recording: str) -> None:
        """Put onto the PCI bus what a recorded `lspci -nnk` shows."""
        lines = said(f"lspci-nnk/{recording}.txt").splitlines()
        for number, line in enumerate(lines):
            if function := FUNCTION.match(line):
                drivers = (IN_USE.match(after) for after in lines[number + 1 : number + 4])
                driver = next((found[1] for found in drivers if found), None)
                self.device(f"0000:{function[1]}", function[3], driver, kind=function[2])

    def information(self, address: str, text: str) -> None:
        """Have the driver's files tell of a GPU."""
        self.write(f"proc/driver/nvidia/gpus/{address}/information", text)

    def packages(self, rows: Iterable[str]) -> None:
        """Have dpkg know packages, as rows of `dpkg -l` have them: state, name, version."""
        stanzas = []
        for state, name, version, *_ in map(str.split, rows):
            name, _, architecture = name.partition(":")
            several = "Multi-Arch: same\n" if architecture else ""
            stanzas.append(
                f"Package: {name}\nStatus: {STATES[state]}\nVersion: {version}\n{several}"
                f"Architecture: {architecture or 'amd64'}\nMaintainer: somebody\n"
                "Description: something\n"
            )
        self.write("var/lib/dpkg/status", "\n".join(stanzas))

    def output(self, command: str | StringCommand) -> list[str]:
        """The lines that a fact's command prints on the box; it must not fail."""
        text = command if isinstance(command, str) else command.get_raw_value()
        namespace = ["unshare", "--mount", "--propagation", "private"]
        arguments = [str(self.mount), str(self.box), text, *REPLACED]
        done = subprocess.run(
            [*namespace, "sh", "-c", ENTER, "sh", *arguments],
            env={"PATH": "/fake/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.splitlines()

    def ask(self, fact: Any, **arguments: Any) -> Any:
        """What a fact is on the box."""
        return fact().process(self.output(fact().command(**arguments)))

    @property
    def started(self) -> list[str]:
        """What was started of all that may load a module, or touch a GPU."""
        path = self.box / "fake/started"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def working_box(tmp_path: Path) -> NvidiaBox:
    """A box whose driver works, before it has a GPU: a test module calls it `box`."""
    found = NvidiaBox(tmp_path)
    found.load(WORKING)
    found.module(WORKING)
    found.libraries(WORKING)
    return found
