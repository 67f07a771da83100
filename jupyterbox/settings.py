"""What a box shall be: typed settings, built in the inventory file and checked when it loads.

A wrong value is one sentence that names the setting, the value and what is allowed, before
anything connects. The defaults are the box of the 2020 article "How To Install JupyterHub on a
Local Server", with its means mended.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from jupyterbox.certificates import read_certificates
from jupyterbox.checks import (
    AbsolutePath,
    AccountName,
    Address,
    AptPackage,
    Channel,
    EnvironmentName,
    PackageSpec,
    Port,
    PythonSource,
    Setting,
    Sha256,
    SiteName,
    Url,
    VariableName,
    matching,
)
from jupyterbox.connection import NoDelay
from jupyterbox.environment_files import read_environment_file, read_lock
from jupyterbox.layout import WORKSPACE

REPOSITORY = Path(__file__).resolve().parent.parent

MINIFORGE = "https://github.com/conda-forge/miniforge/releases/download/26.7.2-0"
"""Source of the two installers below and of their `.sha256` files."""


CONDA_HOST = "https://conda.anaconda.org"
"""What stands before the name of a channel, where no mirror does."""


class Mirrors(Setting):
    """Every place that the box fetches from; a site with mirrors of its own names them here.

    Args:
        apt: the Debian or Ubuntu archive, in place of the box's own sources; `None` leaves them.
        apt_security: the security archive; by default Debian's `<apt>-security`, Ubuntu's `<apt>`.
        python: the index for the hub's and the environments' Python packages (PEP 503).
        npm: the registry for configurable-http-proxy.
        conda: what stands before a channel's name (conda's `channel_alias`).
        cuda: NVIDIA's CUDA repositories, one a release of Debian and Ubuntu.
    """

    apt: Url | None = None
    apt_security: Url | None = None
    python: Url = "https://pypi.org/simple"
    npm: Url = "https://registry.npmjs.org"
    conda: Url = CONDA_HOST
    cuda: Url = "https://developer.download.nvidia.com/compute/cuda/repos"


class Hub(Setting):
    """JupyterHub itself: where it listens, who may log in, and from which lock it is built.

    Args:
        lock: a directory with `requirements.txt` (hashes for every package), `package.json` and
            `package-lock.json`; the versions of everything in a hub release.
        address: where the public proxy listens; all interfaces by default, as in the article.
        port: its port.
        base_url: where the hub begins, for a box behind another web server.
        default_url: what a user sees after logging in.
        allowed_users: who may log in. With this and `allowed_groups` empty, any local account may
            whose uid is `minimum_uid` or above; root and service accounts never.
        allowed_groups: groups of the box whose members may log in.
        admins: users with the hub's admin page. They may log in. With `admin_groups` empty, nobody
            else is an admin, whoever was one before.
        admin_groups: groups of the box whose members are admins, which is decided when they log in.
        minimum_uid: the lowest uid that may log in (login.defs' UID_MIN is 1000).
        extra_config: Python appended to jupyterhub_config.py.
        proxy_api_port: the proxy's API, on loopback only.
        hub_port: the hub's API, on loopback only.
    """

    lock: Path = REPOSITORY / "box/opt/jupyterhub/release"
    address: Address = "0.0.0.0"
    port: Port = 8000
    base_url: Annotated[
        str,
        matching(
            r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*", "it begins and ends with /, like /jupyter/"
        ),
    ] = "/"
    default_url: Annotated[str, matching(r"/[^\s\"'\\]*", "it begins with /, like /lab")] = "/lab"
    allowed_users: list[SiteName] = []
    allowed_groups: list[SiteName] = []
    admins: list[SiteName] = []
    admin_groups: list[SiteName] = []
    minimum_uid: int = Field(default=1000, ge=1)
    extra_config: PythonSource = ""
    proxy_api_port: Port = 8001
    hub_port: Port = 8081

    @field_validator("lock")
    @classmethod
    def _lock_is_whole(cls, lock: Path) -> Path:
        for name in ("requirements.txt", "package.json", "package-lock.json"):
            if not (lock / name).is_file():
                raise ValueError(f"a lock is a directory with {name} in it")
        return lock

    @model_validator(mode="after")
    def _ports_differ(self) -> Hub:
        if len({self.port, self.proxy_api_port, self.hub_port}) < 3:
            raise ValueError(
                f"port {self.port}, proxy_api_port {self.proxy_api_port} and hub_port "
                f"{self.hub_port} must be three different ports"
            )
        return self

    def lock_file(self, name: str) -> str:
        """The text of one of the lock's files."""
        return (self.lock / name).read_text()


class Installer(Setting):
    """A conda installer: a shell script that is run as `bash SCRIPT -b -p ROOT`.

    Args:
        url: where the box fetches it from.
        sha256: what it must hash to, in hex; it is not run otherwise.
    """

    url: Url
    sha256: Sha256


MINIFORGE_INSTALLERS = {
    "amd64": Installer(
        url=f"{MINIFORGE}/Miniforge3-26.7.2-0-Linux-x86_64.sh",
        sha256="281b0ac7d550802efc81af633225a5e6116d29ae72f3ab4eae7168c3931a4c05",
    ),
    "arm64": Installer(
        url=f"{MINIFORGE}/Miniforge3-26.7.2-0-Linux-aarch64.sh",
        sha256="89b786c8d2c8b0fda7553914c1314ae4ddaa094503802f279377b19ac4463cb2",
    ),
}


class Conda(Setting):
    """Where conda comes from and where it looks for packages.

    Args:
        source: an installer script, or the vendor's `apt` repository (its key is refused by
            Debian 13's apt since 2026-02, and preflight says so there).
        installers: the script for each architecture, as dpkg names it; Miniforge by default.
        root: where conda lives.
        channels: in order of priority, by name (below `Mirrors.conda`) or by URL.
        accept_anaconda_terms: accept Anaconda's Terms of Service on behalf of your organisation,
            which its `defaults` channels ask for.
    """

    source: Literal["installer", "apt"] = "installer"
    installers: dict[Literal["amd64", "arm64"], Installer] = MINIFORGE_INSTALLERS  # type: ignore[assignment]
    root: AbsolutePath = "/opt/conda"
    channels: list[Channel] = Field(default=["conda-forge"], min_length=1)
    accept_anaconda_terms: bool = False

    @model_validator(mode="after")
    def _vendor_decides_the_root(self) -> Conda:
        if self.source == "apt" and self.root != "/opt/conda":
            raise ValueError("the vendor's package has its root in /opt/conda: leave root out")
        return self


class Environment(Setting):
    """A global conda environment, published as a kernel to every user.

    What it holds is said in one of three ways: `conda` and `pip`, or `file`, or `lock` (and `pip`).

    Args:
        name: its directory under envs/ and its kernelspec.
        title: what the launcher calls it.
        conda: package specs for conda.
        pip: package specs for the Python index, installed by uv after conda's.
        file: an environment.yml, read on the machine that deploys.
        lock: an @EXPLICIT file with a hash behind every URL, as `jupyterbox lock` writes it and
            `conda list --explicit --sha256` prints it. URLs of conda's own host are fetched from
            the box's mirror.
        channels: in place of the box's.
        variables: set in its kernels.
    """

    name: EnvironmentName
    title: Annotated[str, matching(r"[^\n]*", "a title is one line")] = ""
    conda: list[PackageSpec] = []
    pip: list[PackageSpec] = []
    file: Path | None = None
    lock: Path | None = None
    channels: list[Channel] | None = Field(default=None, min_length=1)
    variables: dict[VariableName, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, data: Any) -> Any:
        """Turn an environment.yml into the same settings, so that there is one way to build.

        conda's own `env create` takes `nodefaults` for a channel and runs pip itself.
        """
        if not isinstance(data, dict) or not isinstance(data.get("file"), str | Path):
            return data
        taken = sorted({"conda", "pip", "lock", "channels"} & data.keys())
        if taken:
            raise ValueError(
                f"file {str(data['file'])!r} says what it holds: leave out {', '.join(taken)}"
            )
        read = read_environment_file(Path(data["file"]))
        given = data.get("variables", {})
        if isinstance(given, dict):
            given = {**read["variables"], **given}
        return {**data, **read, "variables": given}

    @field_validator("lock")
    @classmethod
    def _lock_is_explicit(cls, lock: Path | None) -> Path | None:
        if lock is None:
            return None
        read_lock(lock)
        return lock

    @model_validator(mode="after")
    def _says_what_it_holds(self) -> Environment:
        if self.lock and self.conda:
            raise ValueError(f"{self.name}: say what it holds by conda or by lock, not both")
        if not (self.lock or self.conda):
            raise ValueError(f"{self.name}: say what it holds, by conda, file or lock")
        return self

    @property
    def label(self) -> str:
        """What the launcher shows."""
        return self.title or self.name

    def explicit(self, mirror: str = CONDA_HOST) -> str | None:
        """The lock's packages, as an @EXPLICIT file without remarks; `None` without a lock.

        Args:
            mirror: where they are fetched from, in place of conda's own host.
        """
        if not self.lock:
            return None
        pip = [f"# pip {requirement}" for requirement in read_lock(self.lock).pip]
        return "\n".join(["@EXPLICIT", *self.locked_urls(mirror), *pip, ""])

    @property
    def is_locked(self) -> bool:
        """Whether nothing in it is left to a solver."""
        return bool(self.lock and not self.pip)

    @property
    def uses_python_index(self) -> bool:
        """Whether anything in it comes from the Python index."""
        return bool(self.pip or (self.lock and read_lock(self.lock).pip))

    def locked_urls(self, mirror: str = CONDA_HOST) -> list[str]:
        """The URLs of the lock's conda packages, each with its hash; none without a lock.

        Args:
            mirror: as above.
        """
        urls = read_lock(self.lock).conda if self.lock else []
        return [re.sub(rf"^{re.escape(CONDA_HOST)}(?=/)", mirror, url) for url in urls]

    def release_id(self, channels: list[str]) -> str:
        """The id of the release that these settings build: a hash of what decides its content.

        Title and variables do not: they stand in the kernelspec.

        Args:
            channels: the box's, for an environment without its own.
        """
        declared = {
            "recipe": 1,
            "conda": sorted(self.conda),
            "pip": sorted(self.pip),
            "explicit": self.explicit(),
            "channels": self.channels or channels,
        }
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:12]


class Group(Setting):
    """A group of the box. Args: name; gid, chosen by the box if left out."""

    name: AccountName
    gid: int | None = Field(default=None, ge=1)


class User(Setting):
    """A local account of the box.

    Args:
        name: the login.
        groups: further groups that it is in.
        uid: chosen by the box if left out.
        shell: its login shell; a new account has bash, one that is there keeps its own.
        password_hash: the password that a new account starts with, as crypt(5) writes it
            (`mkpasswd`, or `openssl passwd -6`). An account that has one keeps it: users change
            their passwords.
    """

    name: AccountName
    groups: list[AccountName] = []
    uid: int | None = Field(default=None, ge=1)
    shell: AbsolutePath | None = None
    password_hash: SecretStr | None = None

    @field_validator("password_hash")
    @classmethod
    def _is_crypt(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not re.fullmatch(
            r"\$[^:\s]+\$[^:\s]+", secret.get_secret_value()
        ):
            raise ValueError("a password hash is written as crypt(5) does, $id$salt$hash")
        return secret


class Gpu(Setting):
    """The driver of the box's NVIDIA GPUs. A box that has none to drive gets no driver.

    Args:
        branch: the driver's, which its version starts with; NVIDIA supports 580 until June 2028,
            and it is the last one for GPUs before Turing.
        flavour: of the kernel module, `open` or `proprietary`; by default what the GPUs need, and
            the open one where both drive them (of Debian's own, the proprietary one).
        source: `distribution` or `cuda`, NVIDIA's own repository; the distribution by default.
        persistence: keep GPUs initialized while nobody uses them, so that the first notebook does
            not wait for them.
        remove_ppa: take the PPA graphics-drivers, which the article had, off the box.
        ignore: leave driver and GPUs alone, and deploy whatever state they are in.
    """

    branch: Annotated[str, matching(r"[0-9]{3}", "a branch is three digits, like '580'")] = "580"
    flavour: Literal["open", "proprietary"] | None = None
    source: Literal["distribution", "cuda"] | None = None
    persistence: bool = True
    remove_ppa: bool = False
    ignore: bool = False


# The article's, less nodejs and npm (they come with the hub's release).
BASE_PACKAGES = [
    "python3",
    "python3-venv",
    "ca-certificates",
    "curl",
    "git",
    "bzip2",
    "acl",
]

# What most people look for in Anaconda's distribution. conda-forge has no `anaconda` metapackage;
# the one on Anaconda's own channel asks for its Terms of Service to be accepted.
ANACONDA_PACKAGES = [
    "ipykernel",
    "ipywidgets",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "seaborn",
    "bokeh",
    "plotly",
    "scikit-learn",
    "scikit-image",
    "statsmodels",
    "sympy",
    "numba",
    "dask",
    "h5py",
    "pytables",
    "pyarrow",
    "sqlalchemy",
    "requests",
    "beautifulsoup4",
    "openpyxl",
    "networkx",
    "nltk",
]

DEFAULT_ENVIRONMENTS = [
    Environment(
        name="python3", title="Python 3.13 (default)", conda=["python=3.13", "ipykernel", "pip"]
    ),
    Environment(
        name="anaconda3",
        title="Anaconda3 full",
        conda=["python=3.13", "pip", *ANACONDA_PACKAGES],
    ),
]


class Box(Setting):
    """A whole box. `Box().at("hub.example.org")` is the article's.

    Args:
        hub: JupyterHub.
        conda: conda.
        environments: the global environments. One is called `python3`: a hub adds a kernel of its
            own, from its own venv, where there is none of that name.
        users: local accounts to make; accounts that are not named stay as they are.
        groups: groups to make.
        gpu: the driver of its GPUs; with `None` the driver stays as it is, and one that is broken
            is a reason not to deploy.
        packages: the system's packages that shall be there.
        mirrors: where everything is fetched from.
        ca_certificates: PEM files on this machine with the certificates of the site's own
            authorities, trusted by the box from then on.
        keep: how many releases of the hub, and of each environment, stay on the box: the current
            one, and those before it, to go back to. One that a process runs from stays anyway.
        allow_any_os: try it on a system that was not tested.
    """

    hub: Hub = Hub()
    conda: Conda = Conda()
    environments: list[Environment] = DEFAULT_ENVIRONMENTS
    users: list[User] = []
    groups: list[Group] = []
    gpu: Gpu | None = None
    packages: list[AptPackage] = BASE_PACKAGES
    mirrors: Mirrors = Mirrors()
    ca_certificates: list[Path] = []
    keep: int = Field(default=3, ge=1)
    allow_any_os: bool = False

    @field_validator("environments")
    @classmethod
    def _environments_are_distinct(cls, environments: list[Environment]) -> list[Environment]:
        _refuse_twice("environments are", [environment.name for environment in environments])
        names = [environment.name for environment in environments]
        if "python3" not in names:
            raise ValueError(
                f"one environment must be called 'python3'; these are: {', '.join(names) or 'none'}"
            )
        return environments

    @model_validator(mode="after")
    def _accounts_are_distinct(self) -> Box:
        _refuse_twice("users are", [user.name for user in self.users])
        _refuse_twice("groups are", [group.name for group in self.groups])
        return self

    @field_validator("ca_certificates")
    @classmethod
    def _certificates_are_pem(cls, paths: list[Path]) -> list[Path]:
        for path in paths:
            read_certificates(path)
        # On the box they lie side by side, each as NAME.crt.
        _refuse_twice("certificates are", [path.stem for path in paths])
        return paths

    def at(self, host: str, **connection: Any) -> tuple[str, dict[str, Any]]:
        """This box as an entry of a pyinfra inventory.

        Args:
            host: its name or address, or `@local` for this machine.
            connection: pyinfra's connection data: `ssh_user`, `ssh_port`, `ssh_key`, ...
        """
        data: dict[str, Any] = {"box": self, **connection}
        if host == "@local":
            data.setdefault("_sudo", os.geteuid() != 0)
            # Not below the directory that pyinfra is started in, as a relative one would be here.
            data.setdefault("_temp_dir", str(Path.home() / WORKSPACE))
        else:
            data.setdefault("ssh_paramiko_connect_kwargs", {"transport_factory": NoDelay()})
            if connection.get("ssh_user") == "root":
                data.setdefault("_sudo", False)
        return host, data

    def to_json(self) -> dict[str, Any]:
        """For `pyinfra INVENTORY debug-inventory`: what may be secret comes out as asterisks."""
        shown = self.model_dump(mode="json")
        if self.hub.extra_config:
            shown["hub"]["extra_config"] = "**********"
        return shown


def _refuse_twice(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two {what} called {twice[0]!r}; every name is there once")
