"""Kernelspecs: those published to every user, and those that environments bring."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.problem import Problem
from jupyterbox import layout
from jupyterbox.program import answer, question

PLACES = [
    # A release's own is a link to the published ones, unless somebody made another of it.
    f"{layout.CURRENT}/share/jupyter/kernels",
    "/usr/local/share/jupyter/kernels",
    "/usr/share/jupyter/kernels",
]
"""Where Jupyter looks for global kernelspecs after a user's own; layout.KERNELS is before both."""

Kernelspec = dict[str, Any]
"""A kernel.json: argv, display_name, language, env, metadata, ..."""


class Offer(TypedDict):
    """An environment's real prefix and the kernelspecs in its share/jupyter/kernels."""

    prefix: str
    specs: dict[str, Kernelspec]


class KernelspecState(TypedDict):
    """The published kernelspecs by name (`None` where a kernel.json is none), and the offers.

    `surplus` are the releases of each environment that are too old to be kept and that no process
    uses, each with the directories of the global kernelspecs that name it.
    """

    published: dict[str, Kernelspec | None]
    offered: dict[str, Offer]
    surplus: dict[str, dict[str, list[str]]]


class PublishedKernelspecs(FactBase[KernelspecState]):
    """Published kernelspecs, and what the current releases of some environments bring.

    ```
    {
        "published": {"python3": {"argv": ["/opt/conda/releases/…/bin/python", …], …}},
        "offered": {"python3": {"prefix": "/opt/conda/releases/…", "specs": {"python3": {…}}}},
        "surplus": {"python3": {"91ab…": []}},
    }
    ```

    Args:
        conda_root: where conda lives.
        environments: whose kernelspecs to read.
        releases: the release to read of an environment, in place of its current one.
        keep: how many releases of each stay; all of them by default.
    """

    def command(
        self,
        conda_root: str = "/opt/conda",
        environments: list[str] | None = None,
        releases: dict[str, str] | None = None,
        keep: int | None = None,
    ) -> StringCommand:
        return question(
            "kernelspec_state",
            kernels=layout.KERNELS,
            others=PLACES,
            conda_root=conda_root,
            environments=environments or [],
            releases=releases or {},
            keep=keep,
        )

    @staticmethod
    def default() -> KernelspecState:
        return {"published": {}, "offered": {}, "surplus": {}}

    def process(self, output: list[str]) -> KernelspecState:
        return answer(output, KernelspecState)


class KernelspecRow(TypedDict):
    """One kernelspec.

    `user` is whose it is, `None` for a global one; `ours` says that a deploy has published it.
    `environment` and `release` are those of conda's root that it starts, `base` being conda itself;
    `shadowed_by` is the directory of the one that users get in its place, `problem` why it cannot
    start. Jupyter warns of a name that is not `valid_name`.
    """

    name: str
    title: str | None
    language: str | None
    directory: str
    user: str | None
    ours: bool
    interpreter: str | None
    prefix: str | None
    environment: str | None
    release: str | None
    shadowed_by: str | None
    valid_name: bool
    problem: str | None


class KernelspecsAnswer(TypedDict):
    """Every kernelspec; `skipped` are the homes and directories that did not answer, and why."""

    kernelspecs: list[KernelspecRow]
    python3_is_ours: bool
    skipped: dict[str, str]
    problems: list[Problem]


class _Kernelspecs(TypedDict):
    kernelspecs: list[KernelspecRow]
    python3_is_ours: bool
    deployed: bool
    skipped: dict[str, str]


_CLOSED = "for ordinary accounts"
"""The end of a reason that only keeps out those who are not root."""


class Kernelspecs(FactBase[KernelspecsAnswer]):
    """Every kernelspec of the box, whose it is, what it starts, and whether it can.

    ```
    {
        "kernelspecs": [
            {"name": "python3", "title": "Python 3.13 (default)", "language": "python",
             "directory": "/opt/jupyterhub/share/jupyter/kernels/python3", "user": None,
             "ours": True, "interpreter": "/opt/conda/releases/python3/5d0c…/bin/python",
             "prefix": "/opt/conda/releases/python3/5d0c…", "environment": "python3",
             "release": "5d0c…", "shadowed_by": None, "valid_name": True, "problem": None},
            {"name": "tf2", "title": "TF 2", "language": "python",
             "directory": "/home/ada/.local/share/jupyter/kernels/tf2", "user": "ada",
             …, "problem": "interpreter /home/ada/.conda/envs/tf2/bin/python is missing"},
        ],
        "python3_is_ours": True,
        "skipped": {"bob": "/home/bob did not answer within 2 s"},
        "problems": [{"problem": "…", "cure": "…"}],
    }
    ```

    Whether one can start is judged as the account whose it is; for a global one, as any account
    that is in no group. A user's own that cannot start says so in its row; it is no problem of the
    box. Needs root for the homes of others.

    Args:
        conda_root: where conda lives.
        user: an account's name, all by default.
        users: whether to look into homes at all.
    """

    def command(
        self, conda_root: str = "/opt/conda", user: str | None = None, users: bool = True
    ) -> StringCommand:
        return question(
            "kernelspecs",
            kernels=layout.KERNELS,
            others=PLACES,
            hub=layout.ROOT,
            conda_root=conda_root,
            user=user,
            users=users,
        )

    @staticmethod
    def default() -> KernelspecsAnswer:
        return {"kernelspecs": [], "python3_is_ours": False, "skipped": {}, "problems": []}

    def process(self, output: list[str]) -> KernelspecsAnswer:
        found = answer(output, _Kernelspecs)
        problems = [*_python3(found)]
        for row in found["kernelspecs"]:
            # One that nobody gets harms nobody, and a user's own is the user's to mend.
            if row["problem"] and not row["shadowed_by"] and row["user"] is None:
                problems.append(_broken(row, row["problem"]))
        problems += [_skipped(at, reason) for at, reason in found["skipped"].items()]
        return {
            "kernelspecs": found["kernelspecs"],
            "python3_is_ours": found["python3_is_ours"],
            "skipped": found["skipped"],
            "problems": problems,
        }


def _python3(found: _Kernelspecs) -> Iterator[Problem]:
    """That users get another `python3` than the declared one."""
    if found["python3_is_ours"] or not found["deployed"] or layout.KERNELS in found["skipped"]:
        return
    shared = [row for row in found["kernelspecs"] if row["user"] is None]
    there = next((row for row in shared if row["name"].lower() == "python3"), None)
    if there is None:
        problem = "no kernelspec 'python3' is published: users get the hub's own Python as that."
    elif there["problem"]:
        # Said of itself.
        return
    else:
        problem = f"kernelspec 'python3' in {there['directory']} is not of environment 'python3'."
    yield {"problem": problem, "cure": "Deploy again: it is published then."}


def _broken(row: KernelspecRow, reason: str) -> Problem:
    """A kernelspec that cannot start."""
    problem = f"global kernelspec {row['name']!r} cannot start: {reason}."
    if row["interpreter"] is None and reason.endswith(_CLOSED):
        return {"problem": problem, "cure": _opening(row["directory"])}
    if row["ours"] or row["name"] == "python3":
        return {"problem": problem, "cure": _deploying(row)}
    return {"problem": problem, "cure": _mending(row)}


def _deploying(row: KernelspecRow) -> str:
    """How a declared one can start again."""
    gone = row["problem"] == f"its release {row['prefix']} is gone"
    if not row["ours"] or row["environment"] is None or gone:
        return "Deploy again: it is published anew."
    # A release that is there is not built anew.
    remove = f"remove {row['prefix']}, and deploy"
    return f"Make its environment anew when nobody's kernel runs in it: {remove}."


def _mending(row: KernelspecRow) -> str:
    """How another can start, or be out of the way."""
    if row["interpreter"] is None:
        # Jupyter may not even list it.
        remove = f"rm -r {shlex.quote(row['directory'])}"
        if row["directory"].startswith(f"{layout.KERNELS}/"):
            return f"Deploy again if it is declared; else remove it: {remove}."
        return f"Mend its kernel.json, or remove it: {remove}."
    remove = f"{layout.ROOT}/bin/jupyter kernelspec remove {shlex.quote(row['name'].lower())}"
    return f"Mend what it starts, or remove it: {remove}."


def _opening(directory: str) -> str:
    """How ordinary accounts can read a directory of global kernelspecs."""
    return f"Open it to everybody: chmod -R a+rX {shlex.quote(directory)}."


def _skipped(at: str, reason: str) -> Problem:
    """A home, or a directory of global kernelspecs, that did not answer."""
    if at.startswith("/"):
        hangs = "See whether what its kernels start is there: `findmnt`, `df`."
        cure = _opening(at) if reason.endswith(_CLOSED) else hangs
        return {"problem": f"no kernelspec in {at} is known: {reason}.", "cure": cure}
    cure = "See whether what the home lies on is there: `findmnt`, `df`."
    if reason.endswith("for this account"):
        cure = "See whose it is, and who may read it: `namei -l`."
    return {"problem": f"{at}'s home was not looked into: {reason}.", "cure": cure}
