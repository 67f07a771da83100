"""Facts on a real box: as conda itself tells it, all broken, and with a home that hangs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jupyterbox import layout
from tests.box.conftest import Operator
from tests.box.dead_mount import dead

CONDA = "/opt/conda/bin/conda"
PYTHON3 = "/opt/conda/envs/python3"


def asked(box: Operator, fact: str, *arguments: str, user: str = "root") -> Any:
    """What a fact answers on the command line, as JSON."""
    run = box.pyinfra("--json", "fact", fact, *arguments, user=user)
    assert run.returncode == 0, run.stderr
    [hosts] = json.loads(run.stdout).values()
    assert "127.0.0.1" in hosts, run.stderr
    return hosts["127.0.0.1"]


def problems(found: Any) -> str:
    """The problems of an answer, a line each."""
    return "\n".join(problem["problem"] for problem in found["problems"])


# --- as the tools themselves tell it ---


@pytest.mark.parametrize("env", ["base", "python3", "anaconda3"])
def test_packages_are_those_that_conda_lists(box: Operator, env: str) -> None:
    prefix = "/opt/conda" if env == "base" else f"/opt/conda/envs/{env}"
    listed = json.loads(box.sh(f"{CONDA} list --json --prefix {prefix}"))
    found = asked(box, "facts.conda.CondaPackages", f"env={env}")
    rows = [{key: row[key] for key in row if key != "requested"} for row in found["packages"]]
    assert rows == listed
    assert len(rows) > 3
    assert found["problems"] == []
    environment = asked(box, "facts.conda.CondaEnvs")["environments"][env]
    assert environment["packages"] == len(listed)
    versions = {row["name"]: row["version"] for row in listed}
    assert environment["python"] == versions["python"]


def test_environments_are_those_that_conda_lists(box: Operator) -> None:
    details = json.loads(box.sh(f"{CONDA} env list --json"))["envs_details"]
    found = asked(box, "facts.conda.CondaEnvs", user="ops")
    environments = found["environments"]
    told = {row["prefix"]: (name, row["changed"][:19]) for name, row in environments.items()}
    assert told == {
        prefix: (row["name"], row["last_modified"][:19])
        for prefix, row in details.items()
        if prefix.startswith("/opt/conda")
    }
    assert found["problems"] == []
    config = json.loads(box.sh(f"{CONDA} config --show channels --json"))
    conda = asked(box, "facts.conda.Conda")
    assert [channel["name"] for channel in conda["channels"]] == config["channels"]
    assert conda["version"] in box.sh(f"{CONDA} --version")


@pytest.mark.once
def test_private_environments_are_listed_for_root_and_for_their_owner(box: Operator) -> None:
    box.sh("id -u eve >/dev/null 2>&1 || useradd --create-home --shell /bin/bash eve")
    python = box.machine.conda.get("python", "3.11")
    box.sh(f"runuser -l eve -c 'conda create --yes --quiet --name mine python={python} pip'")
    found = asked(box, "facts.conda.UserCondaEnvs", "user=eve", user="ops")
    [row] = found["environments"]
    assert (row["user"], row["name"], row["problems"]) == ("eve", "mine", [])
    assert row["prefix"] == "/home/eve/.conda/envs/mine"
    everybody = asked(box, "facts.conda.UserCondaEnvs")
    assert row in everybody["environments"]
    assert everybody["skipped"] == {}
    # Without root, half an answer would be taken for the whole.
    run = box.pyinfra(
        "--json", "--data", "_sudo=false", "fact", "facts.conda.UserCondaEnvs", user="ops"
    )
    assert "the homes of others can only be read by root" in run.stdout + run.stderr


# --- what was changed by hand ---


def drift(box: Operator) -> list[tuple[str | None, ...]]:
    rows = asked(box, "facts.conda.CondaEnvs")["environments"]["python3"]["drift"]
    return [(row["package"], row["was"], row["now"], row["by"]) for row in rows]


def undo(box: Operator) -> None:
    """Do what the cure of the first problem says."""
    [problem] = asked(box, "facts.conda.CondaEnvs")["problems"]
    command = problem["cure"].partition("undo it: ")[2].removesuffix(".")
    box.sh(f"PATH=/opt/conda/bin:$PATH; yes | ({command})")


@pytest.mark.once
def test_what_pip_and_conda_did_by_hand_is_drift_until_it_is_undone(box: Operator) -> None:
    assert drift(box) == []
    box.sh(f"{PYTHON3}/bin/python -m pip install --quiet isodate==0.7.2")
    assert drift(box) == [("isodate", None, "0.7.2", "pip")]
    undo(box)
    assert drift(box) == []

    box.sh(f"{CONDA} install --yes --quiet --prefix {PYTHON3} six")
    [(package, was, now, by)] = drift(box)
    assert (package, was, by) == ("six", None, "conda")
    assert now and now.startswith("1.17.0 ")
    undo(box)
    assert drift(box) == []

    [before] = [
        row["version"]
        for row in asked(box, "facts.conda.CondaPackages", "env=python3")["packages"]
        if row["name"] == "wcwidth"
    ]
    box.sh(f"{PYTHON3}/bin/python -m pip install --quiet wcwidth==0.2.13")
    [(package, was, now, by)] = drift(box)
    assert (package, now, by) == ("wcwidth", "0.2.13", "pip")
    assert was and was.startswith(f"{before} ")
    undo(box)
    assert drift(box) == []
    # A deploy has no business with drift: it says so, it does not remove what somebody may use.
    assert box.deploy()["success"] == 0


# --- a broken box ---


DAMAGE = f"""
set -e
mkdir -p /opt/conda/envs/nopython/conda-meta
touch /opt/conda/envs/nopython/conda-meta/history
cp -r /opt/conda/envs/nopython "/opt/conda/envs/it's \\"odd\\"$(printf '\\nreally')"
ln -s ../releases/gone/0123 /opt/conda/envs/gone
cp -a $(readlink -f {PYTHON3}) /opt/conda/envs/damaged
rm /opt/conda/envs/damaged/release.json
cd /opt/conda/envs/damaged/conda-meta
truncate -s 100 ipykernel-*.json
echo nonsense > traitlets-*.json
: > comm-*.json
cd {layout.KERNELS}
mkdir -p dead large "$(printf 'new\\nline')" pipe
sed 's|"/opt/conda/[^"]*/bin/python"|"/opt/conda/releases/python3/gone/bin/python"|' \\
    python3/kernel.json > dead/kernel.json
truncate -s 100M large/kernel.json
mkfifo pipe/kernel.json
cp dead/kernel.json "$(printf 'new\\nline')"
"""
MEND = f"""
cd /opt/conda/envs
rm -rf nopython gone damaged it*odd*
cd {layout.KERNELS}
rm -rf dead large pipe new*line
"""


@contextmanager
def damaged(box: Operator) -> Iterator[None]:
    """The box with everything broken that may be."""
    box.sh(f"bash -c {quoted(DAMAGE)}")
    try:
        yield
    finally:
        box.sh(f"bash -c {quoted(MEND)}")


def quoted(script: str) -> str:
    """A script as one word of a shell."""
    return "'" + script.replace("'", "'\\''") + "'"


@pytest.mark.once
def test_everything_that_is_broken_is_named_and_nothing_else_suffers(box: Operator) -> None:
    with damaged(box):
        conda = asked(box, "facts.conda.CondaEnvs")
        kernels = asked(box, "facts.jupyter.Kernelspecs")
    environments = conda["environments"]
    assert environments["nopython"]["python"] is None
    assert 'it\'s "odd"\nreally' in environments
    assert environments["python3"]["problems"] == []
    assert environments["python3"]["drift"] == []
    said = problems(conda)
    assert "'gone' is a link to ../releases/gone/0123, which is not there" in said
    for package, reason in (("ipykernel", "JSON"), ("traitlets", "JSON"), ("comm", "empty")):
        assert any(
            line.startswith("environment 'damaged': conda-meta/" + package) and reason in line
            for line in said.splitlines()
        ), said

    by_name = {row["name"]: row for row in kernels["kernelspecs"] if row["user"] is None}
    assert by_name["python3"]["problem"] is None
    assert by_name["anaconda3"]["problem"] is None
    for name in ("dead", "large", "new\nline", "pipe"):
        assert by_name[name]["problem"], name
    assert "100 MB" in by_name["large"]["problem"]
    for problem in conda["problems"] + kernels["problems"]:
        assert problem["cure"]
    assert asked(box, "facts.conda.CondaEnvs")["problems"] == []


@pytest.mark.once
def test_a_home_on_a_dead_mount_is_skipped_by_name_and_nothing_hangs(box: Operator) -> None:
    box.sh("id -u gone >/dev/null 2>&1 || useradd --no-create-home --shell /bin/bash gone")
    with dead(box, "/home/gone"):
        for fact in ("facts.conda.UserCondaEnvs", "facts.jupyter.Kernelspecs"):
            started = time.monotonic()
            found = asked(box, fact)
            assert time.monotonic() - started < 30
            assert "/home/gone" in found["skipped"]["gone"]
            assert list(found["skipped"]) == ["gone"]
            assert "gone" in problems(found)
        assert asked(box, "facts.box.System")["os"]
        # An environment that somebody has linked from there.
        box.sh("ln -s /home/gone/env /opt/conda/envs/shared")
        environments = asked(box, "facts.conda.CondaEnvs")
        box.sh("rm /opt/conda/envs/shared")
        assert "python3" in environments["environments"]
        assert "environment 'shared' /opt/conda/envs/shared did not" in problems(environments)
    assert asked(box, "facts.conda.UserCondaEnvs")["skipped"] == {}
    box.sh("userdel gone; rmdir /home/gone")
