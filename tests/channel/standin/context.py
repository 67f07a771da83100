"""Settings: the condarc files, CONDA_* variables and command-line options, as conda ranks them."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEFAULT_ALIAS = "https://conda.anaconda.org"
_DEFAULT_CHANNELS = (
    "https://repo.anaconda.com/pkgs/main",
    "https://repo.anaconda.com/pkgs/r",
)
_SUBDIRS = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}


def _truth(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "true", "yes", "on")


def rc_paths(root: Path, home: Path) -> list[Path]:
    """Where condarc files may lie, the least important first."""
    places: list[Path] = []
    for folder in (Path("/etc/conda"), root):
        places += [folder / ".condarc", folder / "condarc"]
        places += sorted((folder / "condarc.d").glob("*.y*ml"))
    places += [home / ".conda/.condarc", home / ".conda/condarc"]
    places += sorted((home / ".conda/condarc.d").glob("*.y*ml"))
    places.append(home / ".condarc")
    if "CONDA_PREFIX" in os.environ:
        places.append(Path(os.environ["CONDA_PREFIX"]) / ".condarc")
    if "CONDARC" in os.environ:
        places.append(Path(os.environ["CONDARC"]).expanduser())
    return places


def read_rc(path: Path) -> dict[str, Any]:
    """Read one condarc file; what is not a mapping counts as empty."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError:
        return {}
    return content if isinstance(content, dict) else {}


@dataclass
class Context:
    """The settings in force for one command."""

    root: Path
    home: Path
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """condarc file -> its content, the least important first."""
    # From the command line.
    cli_channels: list[str] = field(default_factory=list)
    override_channels: bool = False
    json: bool = False
    yes: bool = False
    quiet: bool = False
    dry_run: bool = False
    offline: bool = False

    @classmethod
    def load(cls) -> Context:
        """Read what this user's files and environment say."""
        root = Path(sys.prefix)
        home = Path(os.path.expanduser("~"))
        context = cls(root, home)
        for path in rc_paths(root, home):
            content = read_rc(path)
            if content:
                context.sources[str(path)] = content
        context.yes = _truth(context.setting("always_yes", False))
        context.offline = _truth(context.setting("offline", False))
        return context

    def setting(self, name: str, default: Any) -> Any:
        """One setting that is a single value: CONDA_NAME, else the most important file's."""
        variable = os.environ.get(f"CONDA_{name.upper()}")
        if variable is not None:
            return variable
        for content in reversed(list(self.sources.values())):
            if name in content:
                return content[name]
        return default

    def settings(self, name: str, separator: str = ",") -> list[str]:
        """One setting that is a list: all sources together, the most important first."""
        found: list[str] = []
        variable = os.environ.get(f"CONDA_{name.upper()}")
        if variable:
            found += [part for part in variable.split(separator) if part]
        for content in reversed(list(self.sources.values())):
            values = content.get(name) or []
            found += [str(value) for value in ([values] if isinstance(values, str) else values)]
        return list(dict.fromkeys(found))

    @property
    def subdir(self) -> str:
        """The platform, such as linux-64."""
        return str(self.setting("subdir", _SUBDIRS.get(platform.machine(), "linux-64")))

    @property
    def subdirs(self) -> tuple[str, str]:
        """The folders of a channel that matter here."""
        return self.subdir, "noarch"

    @property
    def channel_alias(self) -> str:
        """What a channel's bare name is below of."""
        return str(self.setting("channel_alias", DEFAULT_ALIAS)).rstrip("/")

    @property
    def channels(self) -> list[str]:
        """The channels in force, the most important first."""
        configured = [] if self.override_channels else self.settings("channels")
        wanted: list[str] = []
        for channel in [*self.cli_channels, *configured]:
            if channel == "defaults":
                wanted += self.settings("default_channels") or list(_DEFAULT_CHANNELS)
            else:
                wanted.append(channel)
        return list(dict.fromkeys(wanted))

    @property
    def root_writable(self) -> bool:
        """Whether this user may change the base environment."""
        return os.access(self.root / "conda-meta" / "history", os.W_OK)

    def _dirs(self, name: str, variables: tuple[str, ...], default: list[Path]) -> list[Path]:
        found: list[str] = []
        for variable in variables:
            found += [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
        for content in reversed(list(self.sources.values())):
            found += [str(value) for value in content.get(name) or []]
        paths = [Path(os.path.expandvars(part)).expanduser() for part in found]
        # conda keeps its own places after configured envs_dirs; configured pkgs_dirs replace them.
        return list(dict.fromkeys(paths + ([] if paths and name == "pkgs_dirs" else default)))

    @property
    def envs_dirs(self) -> list[Path]:
        """Where environments live by name, the one that new ones go to first."""
        ours, theirs = self.root / "envs", self.home / ".conda/envs"
        default = [ours, theirs] if self.root_writable else [theirs, ours]
        return self._dirs("envs_dirs", ("CONDA_ENVS_DIRS", "CONDA_ENVS_PATH"), default)

    @property
    def pkgs_dirs(self) -> list[Path]:
        """Where packages are kept extracted."""
        default = [self.root / "pkgs", self.home / ".conda/pkgs"]
        return self._dirs("pkgs_dirs", ("CONDA_PKGS_DIRS",), default)

    @property
    def ssl_verify(self) -> bool | str:
        """Whether certificates are checked, or the file to check them against."""
        value = self.setting("ssl_verify", True)
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "1", "truststore"):
            return True
        return False if str(value).lower() in ("false", "no", "0") else str(value)

    @property
    def retries(self) -> int:
        """How often a failed request is tried again."""
        return int(self.setting("remote_max_retries", 3))

    @property
    def register_envs(self) -> bool:
        """Whether new environments are noted in ~/.conda/environments.txt."""
        return _truth(self.setting("register_envs", True))

    @property
    def changeps1(self) -> bool:
        """Whether activation changes the prompt."""
        return _truth(self.setting("changeps1", True))
