"""How apt is told to install a driver: in one step, after which nothing is left half way."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api.command import FunctionCommand, PyinfraCommand

from facts.driver_setup import SUITES
from jupyterbox.driver_packages import CUDA_PACKAGES, Transaction
from jupyterbox.program import showing_progress
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

# Half configured, it would be in the way of everything that apt does on the box from then on.
REMOVE = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -y -qq "
    "-o DPkg::Lock::Timeout=300 --allow-change-held-packages remove {module} >/dev/null 2>&1"
)
UNBUILT = (
    "case $(dpkg-query -W -f '${{db:Status-Status}}' {module} 2>/dev/null) in "
    "half-configured | unpacked) cat /var/lib/dkms/nvidia*/*/build/make.log >{log} 2>/dev/null; "
    f"grep -m 3 -h 'error:' {{log}} >&2; {REMOVE}; "
    "echo '{module} was not installed: does it build for every kernel? See {log}.' >&2 ;; esac; "
    "exit 1"
)

# What an earlier run left like that; READY would build it, and fail, thirty times.
CLEARED = (
    "for module in $(dpkg-query -W -f '${db:Status-Status} ${Package}\\n' 'nvidia-*dkms*' "
    "2>/dev/null | sed -nE '/-no-dkms/d; s/^(half-configured|unpacked) //p'); do "
    f"{REMOVE.format(module='$module')}; done; :"
)


def installation(wanted: Transaction) -> Iterator[str | PyinfraCommand]:
    """Have apt do it, once nobody else is at it."""
    yield CLEARED
    yield READY
    if wanted.first:
        yield step(wanted.first)
        yield step(wanted, UNBUILT.format(module=wanted.packages[0], log=MAKE_LOG))
    else:
        yield step(wanted)


def step(wanted: Transaction, failed: str = "exit 1") -> FunctionCommand:
    """The command for one transaction: apt is first asked which of the optional packages fit.

    + failed: what to do where it fails
    """
    names = " ".join([*wanted.packages, *(f"{name}-" for name in wanted.without)])
    fit = "".join(
        f'$apt -qq -s {names} $fit {name} >/dev/null 2>&1 && fit="$fit {name}"; '
        for name in wanted.optional
    )
    over = preferred(wanted.over) if wanted.over else ""
    return showing_progress(f"{APT}{over}fit=; {fit}$apt {names} $fit || {{ {failed}; }}")


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
