"""The host under the demo box: the packages it needs, and its apt mirrors."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from jupyterbox.demo import DemoError
from jupyterbox.demo.steps import Say

PACKAGES = ("mmdebstrap", "systemd-container", "openssh-client", "debian-archive-keyring")


def require_root() -> None:
    """Refuse to go on as anybody but root, which building and booting a machine needs.

    Raises:
        DemoError: the caller is not root.
    """
    if os.geteuid() != 0:
        raise DemoError("The demo box is a machine of its own: only root can boot it (use sudo).")


def ensure_host_packages(say: Say) -> None:
    """Install what the demo box needs and this host lacks.

    Args:
        say: is told what gets installed; nothing is said where nothing is missing.

    Raises:
        DemoError: the host is no Debian or Ubuntu, or its apt could not install them.
    """
    if not shutil.which("apt-get"):
        raise DemoError("The demo box needs a Debian or Ubuntu host: this one has no apt-get.")
    if not (missing := missing_packages(PACKAGES)):
        return
    say(f"installing on this host: {', '.join(missing)}")
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def missing_packages(wanted: Iterable[str]) -> list[str]:
    """Those of the wanted Debian packages that this host has not installed."""
    listing = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    installed = {line.removeprefix("installed ") for line in listing}
    return [package for package in wanted if package not in installed]


def apt_repositories(origin: str) -> dict[str, str]:
    """The archive that each suite of a distribution comes from on this host.

    It is apt that is asked, so both formats of its sources are understood. Only what it has
    fetched at least once is known to be of that origin.

    Args:
        origin: the distribution as its Release files call it: `Debian` or `Ubuntu`.

    Returns:
        suite to URI, such as `{"trixie": "http://deb.debian.org/debian"}`.
    """
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    fields = [line.split(" ") for line in targets]
    return {
        suite: uri.rstrip("/")
        for [of, suite, uri] in (field for field in fields if len(field) == 3)
        if of == origin and uri.startswith(("http://", "https://"))
    }


def _apt_get(*arguments: str) -> None:
    """Run apt-get without questions, and quietly unless it fails."""
    done = subprocess.run(
        ["apt-get", "--quiet=2", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise DemoError(f"apt-get {arguments[0]} failed on this host: {last}")
