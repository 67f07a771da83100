"""Where things lie on a box."""

from __future__ import annotations

ROOT = "/opt/jupyterhub"
RELEASES = f"{ROOT}/releases"
CURRENT = f"{ROOT}/current"
CONFIG = f"{ROOT}/etc/jupyterhub/jupyterhub_config.py"
CONFIG_D = f"{ROOT}/etc/jupyterhub/jupyterhub_config.d"
DATA = f"{ROOT}/share/jupyter"
KERNELS = f"{DATA}/kernels"

STATE = "/var/lib/jupyterhub"
PROXY_ENVIRONMENT = f"{STATE}/proxy.env"
COOKIE_SECRET = f"{STATE}/cookie_secret"
DATABASE = f"{STATE}/jupyterhub.sqlite"
BY_HAND = f"{ROOT}-by-hand"
"""What is kept of a hub that was made by hand, for root alone; it outlives this project's."""

JOURNAL = f"{STATE}/journal"
"""What this project has made on the box: see operations/journal.py."""

PROFILE = "/etc/profile.d/conda.sh"
"""A link: it gives login shells the conda command."""

HUB_UNIT = "jupyterhub.service"
PROXY_UNIT = "jupyterhub-proxy.service"
PAM_SERVICE = "jupyterhub"
PAM_FILE = f"/etc/pam.d/{PAM_SERVICE}"

CACHE = "/var/cache/jupyterbox"
"""For what a build needs; it goes when the build is over."""

WHEELS = f"{ROOT}/cache"
"""uv's caches, on the hub's disk: its releases are made of hard links to what lies there."""

RUN = "/run/jupyterbox"
"""What a reboot may forget: whose turn it is to change the box."""

WORKSPACE = ".jupyterbox"
"""For uploads, below the home of the account that logs in: see config.py."""

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

VERIFY_ACCOUNT = "jupyterbox-verify"
"""The account that tasks/verify.py makes and removes."""


def unit_file(unit: str) -> str:
    """Where a unit's file lies."""
    return f"/etc/systemd/system/{unit}"


READS = {
    # What a unit reads when it starts: it is restarted when one of these is newer than it.
    HUB_UNIT: [
        unit_file(HUB_UNIT),
        f"{unit_file(HUB_UNIT)}.d",
        CONFIG,
        CONFIG_D,
        CURRENT,
        PROXY_ENVIRONMENT,
    ],
    # Not CURRENT: a proxy restart drops connections, so it is asked for only by another proxy.
    PROXY_UNIT: [unit_file(PROXY_UNIT), f"{unit_file(PROXY_UNIT)}.d", PROXY_ENVIRONMENT],
}


def conda_release(root: str, environment: str, release: str) -> str:
    """The prefix of a release of an environment."""
    return f"{root}/releases/{environment}/{release}"


def declares(release: str) -> str:
    """The id that settings declare, of a release: what was solved anew has a number behind it."""
    return release.partition("-")[0]


def staged_installer(sha256: str) -> str:
    """Where a conda installer waits, checked, until it is run."""
    return f"{CACHE}/{sha256}.sh"
