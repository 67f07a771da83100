"""How apt is told to install a driver: in one step, after which nothing is left half way."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.command import FunctionCommand, PyinfraCommand

from facts.driver_setup import SUITES
from jupyterbox.driver_packages import CUDA_PACKAGES, DKMS, Transaction
from jupyterbox.program import PROGRAMS, showing_progress
from operations.packages import READY

APT = (
    "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l; "
    "apt='apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef "
    "-o Dpkg::Options::=--force-confold --no-install-recommends --allow-change-held-packages "
    "--allow-downgrades install'; "
)

MAKE_LOG = "/var/log/jupyterbox-nvidia-make.log"

OVER = "/run/jupyterbox-apt-preferences"
"""Apt's preferences for one transaction."""

HALF = (PROGRAMS / "half_installed.sh").read_text()
HALF = HALF.replace("{dkms}", DKMS.pattern).replace("{log}", MAKE_LOG)
CLEARED = f"{HALF}cleared"


def preparation(wanted: Transaction) -> Iterator[str | PyinfraCommand]:
    """Have dpkg in order, once nobody else is at it, and what DKMS builds with."""
    yield CLEARED
    yield READY
    if wanted.first:
        yield step(wanted.first, f"{HALF}remember; ", "without_headers")


def installation(wanted: Transaction) -> PyinfraCommand:
    """Have apt install the driver itself."""
    if wanted.first:
        return step(wanted, HALF, f"without_module {wanted.packages[0]}")
    return step(wanted)


def step(wanted: Transaction, before: str = "", failed: str = ":") -> FunctionCommand:
    """The command for one transaction: apt is first asked which of the optional packages fit.

    + before: what to do first
    + failed: what to do where it fails, which it does all the same
    """
    names = " ".join([*wanted.packages, *(f"{name}-" for name in wanted.without)])
    fit = "".join(
        f'$apt -qq -s {names} $fit {name} >/dev/null 2>&1 && fit="$fit {name}"; '
        for name in wanted.optional
    )
    over = preferred(wanted.over) if wanted.over else ""
    return showing_progress(
        f"{before}{APT}{over}fit=; {fit}$apt {names} $fit || {{ {failed}; exit 1; }}"
    )


def preferred(codename: str) -> str:
    """Have apt take Debian's versions in this transaction, though they are lower.

    In the box's own preferences, the like would be in the way of every upgrade from elsewhere.
    """
    pins = "".join(
        f"\\nPackage: {CUDA_PACKAGES}\\nPin: release o=Debian,n={codename}{suite}\\n"
        "Pin-Priority: 1001\\n"
        for suite in SUITES
    )
    return (
        f"{{ cat /etc/apt/preferences 2>/dev/null; printf '{pins}'; }} >{OVER}; "
        f'apt="$apt -o Dir::Etc::preferences={OVER}"; '
    )
