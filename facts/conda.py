"""Conda, its environments and users' own: read from files, conda itself is not started."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import yaml
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import FactValueError
from pyinfra.api.facts import FactBase
from typing_extensions import NotRequired, TypedDict

from facts.problem import Problem
from jupyterbox.program import answer, question


class EnvironmentReleases(TypedDict):
    """One environment: the release that its link names, and those that are complete.

    `previous` was current before; `plain` says that envs/NAME is a directory made by hand and not a
    link of ours.
    """

    current: str | None
    previous: str | None
    plain: bool
    complete: list[str]


class CondaState(TypedDict):
    """Whether conda is installed and root's alone, and the releases of every environment."""

    installed: bool
    owned: bool
    environments: dict[str, EnvironmentReleases]


class CondaReleases(FactBase[CondaState]):
    """Conda and the releases of its environments below a root: what the deploy decides on.

    ```
    {
        "installed": True,
        "owned": True,
        "environments": {
            "python3": {
                "current": "5d0c…", "previous": "91ab…", "plain": False,
                "complete": ["5d0c…", "91ab…"],
            },
        },
    }
    ```

    Args:
        root: conda's, /opt/conda by default.
    """

    def command(self, root: str = "/opt/conda") -> StringCommand:
        return question("conda_state", root=root)

    @staticmethod
    def default() -> CondaState:
        return {"installed": False, "owned": True, "environments": {}}

    def process(self, output: list[str]) -> CondaState:
        return answer(output, CondaState)


class Channel(TypedDict):
    """A channel that every account gets packages from, and the file that says so."""

    name: str
    file: str


class CondaAnswer(TypedDict):
    """Conda itself; `None` for what is not there or what nobody says."""

    root: str | None
    version: str | None
    source: str | None
    solver: str | None
    channels: list[Channel]
    problems: list[Problem]


class _Install(TypedDict):
    """What the program answers: files as they are, for the box has no YAML."""

    root: str | None
    version: str | None
    source: str | None
    default_solver: str | None
    interrupted: bool
    condarcs: dict[str, str]
    unreadable: dict[str, str]


class Conda(FactBase[CondaAnswer]):
    """Conda: its version, its solver, who installed it, its channels in the order of their rank.

    ```
    {
        "root": "/opt/conda", "version": "26.7.1", "source": "installer", "solver": "rattler",
        "channels": [{"name": "conda-forge", "file": "/opt/conda/.condarc"}],
        "problems": [],
    }
    ```

    `source` is `apt`, `installer`, or `None` where nothing tells. The files are those that count
    for every account; one's own ~/.condarc comes on top. Flags (`#!final`) are not read.

    Args:
        root: conda's, /opt/conda by default.
    """

    def command(self, root: str = "/opt/conda") -> StringCommand:
        return question("conda_install", root=root)

    @staticmethod
    def default() -> CondaAnswer:
        return {
            "root": None,
            "version": None,
            "source": None,
            "solver": None,
            "channels": [],
            "problems": [],
        }

    def process(self, output: list[str]) -> CondaAnswer:
        found = answer(output, _Install)
        files, problems = _read_condarcs(found)
        solvers = [content["solver"] for content in files.values() if "solver" in content]
        if found["interrupted"]:
            problem = "conda's installation was interrupted."
            problems.append({"problem": problem, "cure": "Deploy again: it is finished then."})
        return {
            "root": found["root"],
            "version": found["version"],
            "source": found["source"],
            "solver": str(solvers[-1]) if solvers else found["default_solver"],
            "channels": _channels(files),
            "problems": problems,
        }


def _read_condarcs(found: _Install) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """The files' contents by their paths, the weakest first, and what is wrong with others."""
    files, problems = {}, []
    reasons = dict(found["unreadable"])
    for path, text in found["condarcs"].items():
        try:
            content = yaml.safe_load(text)
        except Exception:
            # YAML's own constructors raise whatever Python does.
            reasons[path] = "is not YAML"
            continue
        if isinstance(content, dict):
            files[path] = content
        elif content is not None:
            reasons[path] = "is not a list of settings"
    for path, reason in reasons.items():
        problems.append(
            Problem(problem=f"{path} {reason}: no conda command works.", cure=f"Mend {path}.")
        )
    return files, problems


def _channels(files: dict[str, dict[str, Any]]) -> list[Channel]:
    """The channels of all files; those of a stronger one come first, and each counts once."""
    found: dict[str, str] = {}
    for path, content in reversed(files.items()):
        listed = content.get("channels") or []
        for name in listed if isinstance(listed, list) else [listed]:
            found.setdefault(str(name), path)
    return [{"name": name, "file": path} for name, path in found.items()]


class Drift(TypedDict):
    """A package that was added (`was` is None), removed (`now` is None) or changed by hand.

    `by` is conda or pip; `pip` is the name that pip has for it, where that is another.
    """

    package: str
    was: str | None
    now: str | None
    by: str
    pip: NotRequired[str]


class Environment(TypedDict):
    """One environment.

    `path` is `prefix` with its links followed; `packages` counts all, `from_pip` those that conda
    did not bring; `requested` are the specs that were asked for; `changed` is when conda last
    changed it; `problems` say what is wrong with its files.
    """

    prefix: str
    path: str
    python: str | None
    packages: int
    from_pip: int
    size_mb: int | None
    requested: list[str]
    channels: list[str]
    changed: str | None
    problems: list[str]


class GlobalEnvironment(Environment):
    """One in conda's root; of a release its id, when it was built, and its drift since then."""

    release: str | None
    built: str | None
    drift: list[Drift]


class CondaEnvsAnswer(TypedDict):
    """The environments by name, `base` being conda's own, and what is wrong with them."""

    environments: dict[str, GlobalEnvironment]
    problems: list[Problem]


class _Broken(TypedDict):
    name: str
    path: str
    sentence: str


class _Envs(TypedDict):
    environments: dict[str, GlobalEnvironment]
    broken: list[_Broken]


class CondaEnvs(FactBase[CondaEnvsAnswer]):
    """Every global environment: what is in it, where it comes from, what was changed by hand.

    ```
    {
        "environments": {
            "python3": {
                "prefix": "/opt/conda/envs/python3",
                "path": "/opt/conda/releases/python3/5d0c…",
                "python": "3.13.5", "packages": 37, "from_pip": 0, "size_mb": None,
                "requested": ["ipykernel", "pip", "python=3.13"], "channels": ["conda-forge"],
                "changed": "2026-11-23T14:02:11+00:00", "problems": [],
                "release": "5d0c…", "built": "2026-11-23T14:02:13+00:00",
                "drift": [{"package": "six", "was": None, "now": "1.17.0", "by": "pip"}],
            },
        },
        "problems": [{"problem": "…", "cure": "…"}],
    }
    ```

    Args:
        root: conda's, /opt/conda by default.
        size: whether to add up `size_mb`, which takes seconds on a large box.
    """

    def command(self, root: str = "/opt/conda", size: bool = False) -> StringCommand:
        return question("conda_envs", root=root, size=size)

    @staticmethod
    def default() -> CondaEnvsAnswer:
        return {"environments": {}, "problems": []}

    def process(self, output: list[str]) -> CondaEnvsAnswer:
        found = answer(output, _Envs)
        problems = [_broken(entry) for entry in found["broken"]]
        for name, environment in found["environments"].items():
            problems += _problems(name, environment)
        return {"environments": found["environments"], "problems": problems}


def _broken(entry: _Broken) -> Problem:
    """An entry of the environments' directory that is no environment."""
    cure = f"Deploy again if it is declared; else remove {entry['path']}."
    if "link" not in entry["sentence"]:
        cure = f"See what is there, as root: `namei -l {shlex.quote(entry['path'])}`."
    return {"problem": f"environment {entry['name']!r} {entry['sentence']}.", "cure": cure}


def _problems(name: str, environment: GlobalEnvironment) -> Iterator[Problem]:
    """What is wrong with one environment, and what to do about it."""
    path = environment["path"]
    # What is built anew under its old path takes the files away from kernels that run in it.
    cure = f"Make it anew when nobody's kernel runs in it: remove {path}"
    cure += ", and deploy." if environment["release"] else "."
    if name == "base":
        cure = "Run conda's installer over it (-u): it mends conda and keeps the environments."
    for sentence in environment["problems"]:
        hidden = sentence.endswith("for this account")
        ask = "Ask as root: without sudo only a part of it is told."
        yield {"problem": f"environment {name!r}: {sentence}.", "cure": ask if hidden else cure}
    for drift in environment["drift"]:
        yield {
            "problem": f"environment {name!r} has drifted: {_drifted(drift)}.",
            "cure": f"Declare it in the inventory and deploy, or undo it: {_undo(drift, path)}.",
        }


def _drifted(drift: Drift) -> str:
    """What happened to a package, as a sentence."""
    package, by = drift["package"], drift["by"]
    if drift["was"] is None:
        return f"{package} {drift['now']} was added by {by}"
    if drift["now"] is None:
        return f"{package} {drift['was']} was removed by {by}"
    return f"{package} was changed from {drift['was']} to {drift['now']} by {by}"


def _undo(drift: Drift, path: str) -> str:
    """The command that undoes a change."""
    package, was = drift["package"], drift["was"]
    if drift["by"] == "conda":
        if was is None:
            return f"conda remove -p {path} {package}"
        # The same package of another channel is told by its address.
        return f"conda install -p {path} {was if '://' in was else _spec(package, was)}"
    pip, name = f"{path}/bin/python -m pip", drift.get("pip", package)
    if was is None:
        return f"{pip} uninstall {name}"
    if " " not in was:
        return f"{pip} install {name}=={was}"
    # Else what pip has installed would stay beside it; and conda believes it to be there.
    first = f"{pip} uninstall {name} && " if drift["now"] else ""
    return f"{first}conda install --force-reinstall -p {path} {_spec(package, was)}"


def _spec(package: str, was: str) -> str:
    """A version and build as conda takes them."""
    return f"{package}={was.replace(' ', '=')}"


class Package(TypedDict):
    """A package as `conda list --json` has it; `requested` says that somebody asked for it."""

    name: str
    version: str
    build_string: str
    build_number: int
    platform: str
    channel: str
    base_url: str
    dist_name: str
    requested: bool


class CondaPackagesAnswer(TypedDict):
    """The packages of an environment, sorted by name, and what is wrong with their records."""

    prefix: str
    path: str
    packages: list[Package]
    problems: list[Problem]


class _Packages(TypedDict):
    prefix: str
    path: str
    packages: list[Package]
    problems: list[str]


class CondaPackages(FactBase[CondaPackagesAnswer]):
    """The packages of one environment, conda's and pip's.

    ```
    {
        "prefix": "/opt/conda/envs/python3", "path": "/opt/conda/releases/python3/5d0c…",
        "packages": [{"name": "six", "version": "1.17.0", "build_string": "pyhd8ed1ab_0",
                      "build_number": 0, "platform": "noarch", "channel": "conda-forge",
                      "base_url": "https://conda.anaconda.org/conda-forge",
                      "dist_name": "six-1.17.0-pyhd8ed1ab_0", "requested": False}],
        "problems": [],
    }
    ```

    Args:
        env: the name of a global environment, `base` for conda's own.
        prefix: any environment's prefix instead.
        root: conda's, /opt/conda by default.

    Raises:
        FactValueError: not one of `env` and `prefix` was given.
    """

    def command(
        self, env: str | None = None, prefix: str | None = None, root: str = "/opt/conda"
    ) -> StringCommand:
        if (env is None) == (prefix is None):
            raise FactValueError("CondaPackages takes either env=NAME or prefix=PATH")
        of_name = root if env == "base" else f"{root}/envs/{env}"
        return question("conda_packages", root=root, prefix=prefix or of_name)

    @staticmethod
    def default() -> CondaPackagesAnswer:
        return {"prefix": "", "path": "", "packages": [], "problems": []}

    def process(self, output: list[str]) -> CondaPackagesAnswer:
        found = answer(output, _Packages)
        cure = f"Make it anew when nobody's kernel runs in it: {found['path']}."
        problems: list[Problem] = [
            {"problem": f"{found['prefix']}: {sentence}.", "cure": cure}
            for sentence in found["problems"]
        ]
        return {
            "prefix": found["prefix"],
            "path": found["path"],
            "packages": found["packages"],
            "problems": problems,
        }


class UserEnvironment(Environment):
    """An account's private environment."""

    user: str
    name: str


class UserCondaEnvsAnswer(TypedDict):
    """Private environments; `skipped` are the accounts whose homes did not answer, and why."""

    environments: list[UserEnvironment]
    skipped: dict[str, str]
    problems: list[Problem]


class _UserEnvs(TypedDict):
    environments: list[UserEnvironment]
    skipped: dict[str, str]


class UserCondaEnvs(FactBase[UserCondaEnvsAnswer]):
    """The private environments of every account, or of one. Needs root, but for one's own.

    ```
    {
        "environments": [
            {"user": "ada", "name": "tf2", "prefix": "/home/ada/.conda/envs/tf2",
             "python": "3.12.4", "packages": 61, "from_pip": 3, …},
        ],
        "skipped": {"bob": "/home/bob did not answer within 2 s"},
        "problems": [{"problem": "…", "cure": "…"}],
    }
    ```

    Each home is looked into as its owner. What is broken in a private environment is its owner's
    to mend: it is among that environment's `problems`, not among those of the box.

    Args:
        user: an account's name, all by default.
        root: conda's, /opt/conda by default; what lies there is nobody's own.
        size: whether to add up `size_mb`.
    """

    def command(
        self, user: str | None = None, root: str = "/opt/conda", size: bool = False
    ) -> StringCommand:
        return question("user_conda_envs", user=user, root=root, size=size)

    @staticmethod
    def default() -> UserCondaEnvsAnswer:
        return {"environments": [], "skipped": {}, "problems": []}

    def process(self, output: list[str]) -> UserCondaEnvsAnswer:
        found = answer(output, _UserEnvs)
        cure = "See whether what the home lies on is there: `findmnt`, `df`."
        problems: list[Problem] = [
            {"problem": f"{user}'s home was not looked into: {reason}.", "cure": cure}
            for user, reason in found["skipped"].items()
        ]
        return {**found, "problems": problems}
