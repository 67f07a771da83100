"""What the real archives of the distributions have of NVIDIA's driver, as apt in a root says it.

Nothing is installed. A root gets the status of a box with kernels, as apt has them of the archive;
then the deploy's own question is asked, and apt is asked what it would do (`apt-get -s`).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from facts.driver_setup import DriverSetup
from jupyterbox.demo.root import bare_root, copy_root, remove_tree

KERNELS = {
    "jammy": ["linux-generic", "linux-generic-hwe-22.04"],
    "noble": ["linux-generic", "linux-generic-hwe-24.04"],
    "resolute": ["linux-generic"],
    "bookworm": ["linux-image-amd64"],
    "trixie": ["linux-image-amd64"],
}
BRANCHES = {"580": ["-open", ""], "595": ["-open", ""], "615": ["-open"]}
SECTIONS = ["modules", "candidates", "whole", "cuda", "headers", "archives", "origins"]

ENTER = 'mount --rbind /proc "$1/proc"; mount --rbind /dev "$1/dev"; exec chroot "$1" sh -c "$2"'
SIMULATE = "apt-get -s --no-install-recommends --allow-change-held-packages install"
# Whatever apt would install, dpkg then says that it is.
INSTALLED = r"""
names=$(%s %s | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p')
{ echo; apt-cache show $names | grep -vE '^(Filename|Size|SHA|MD5|Description-md5)' |
  sed 's/^Package: .*/&\nStatus: install ok installed/'; echo; } >>/var/lib/dpkg/status
for name in $(echo "$names" | sed -n 's/^linux-image-\([0-9][^=]*\)=.*/\1/p'); do
  touch /boot/vmlinuz-$name; done
"""
# The oldest of them runs.
UNAME = """#!/bin/sh
ls /boot | sed -n 's/^vmlinuz-//p' | sort -V | head -n 1
"""
DEBIAN = "sed -i '/^Components:/s/$/ contrib non-free/' /etc/apt/sources.list.d/*.sources"


class Root:
    """A root of a release, whose apt has fetched what there is."""

    def __init__(self, release: str, folder: Path) -> None:
        self.path = folder / release
        copy_root(bare_root(release, print), self.path)
        (self.path / "etc/resolv.conf").unlink(missing_ok=True)
        (self.path / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
        if release in ("bookworm", "trixie"):
            self.run(DEBIAN)
        uname = self.path / "usr/local/bin/uname"
        uname.write_text(UNAME)
        uname.chmod(0o755)
        self.run("apt-get -qq update")
        self.run(INSTALLED % (SIMULATE, " ".join(KERNELS[release])))

    def run(self, command: str) -> str:
        """What a command prints in there."""
        namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]
        done = subprocess.run(
            [
                *namespace,
                str(self.path),
                f"export LC_ALL=C PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; {command}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout


def record_archives(write: Callable[[str, str, str], None], releases: Iterable[str]) -> None:
    """Record of each release what the fact asks apt, and of Ubuntu's what apt would install.

    + write: takes a recording's name, where it comes from, and its text
    """
    with tempfile.TemporaryDirectory() as folder:
        for release in releases:
            root = Root(release, Path(folder))
            kernels = " and ".join(KERNELS[release])
            where = f"What facts.driver_setup.DriverSetup's command asks apt, of {release}'s "
            said = root.run(DriverSetup().command())
            text = "".join(section(said, name) for name in SECTIONS)
            write(f"gpu/archive-{release}", f"{where}archives, for {kernels}.", text)
            if release not in ("bookworm", "trixie"):
                where = f"What apt-get -s says on {release}, with {kernels} installed, of packages."
                write(f"gpu/transactions-{release}", where, "".join(transactions(root)))
            remove_tree(root.path)


def section(said: str, name: str) -> str:
    """A section of what a command said."""
    return f"@@{name}\n" + said.partition(f"@@{name}\n")[2].partition("\n@@")[0].rstrip() + "\n"


def transactions(root: Root) -> Iterable[str]:
    """What apt would do for each driver, with and without NVSwitches, and for another branch."""
    kernel = root.run("uname -r").strip()
    for branch, flavours in BRANCHES.items():
        for flavour in flavours:
            for fabric in ([], [f"nvidia-fabricmanager-{branch}"]):
                yield simulated(root, [*packages(f"{branch}-server{flavour}", kernel), *fabric])
    before, after = packages("580-server-open", kernel), packages("595-server-open", kernel)
    root.run(INSTALLED % (SIMULATE, " ".join([*before, "nvidia-fabricmanager-580"])))
    yield simulated(root, [*after, "nvidia-fabricmanager-595"])


def packages(module: str, kernel: str) -> list[str]:
    """The packages of a driver on Ubuntu, with the modules for one kernel."""
    return [
        f"linux-modules-nvidia-{module}-generic",
        f"nvidia-headless-no-dkms-{module}",
        f"nvidia-utils-{module.removesuffix('-open')}",
        f"linux-modules-nvidia-{module}-{kernel}",
    ]


def simulated(root: Root, names: list[str]) -> str:
    """What apt would do for some packages."""
    said = root.run(f"{SIMULATE} {' '.join(names)}")
    steps = re.findall(r"^(?:Inst|Remv) .*", said, re.MULTILINE)
    return "\n".join([f"@@{' '.join(names)}", *steps, ""])
