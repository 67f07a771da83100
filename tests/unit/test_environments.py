"""Environments: built beside what runs, switched to at a stroke, upgraded, and gone back in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra_cli.util import parse_cli_arg  # type: ignore[import-untyped]

from jupyterbox.settings import Box, Environment, Mirrors
from jupyterbox.upgrades import Upgrades
from operations import environments
from tests.unit.box import ANACONDA3_ID, CONDA, DEPLOYED, PYTHON3, PYTHON3_ID, state
from tests.unit.engine import Shown, deployed, programs, run
from tests.unit.test_conda import says, there

BUILD = "build_environment"


def switch(name: str, release: str, root: str = "/opt/conda") -> str:
    link, new = f"{root}/envs/{name}", f"{root}/envs/.{name}.new"
    history = f"{root}/releases/{name}/.history"
    return (
        f"umask 022 && mkdir -p {root}/envs && "
        f'{{ [ ! -h {link} ] || basename "$(readlink {link})" >> {history}; }} && '
        f"ln -sfn ../releases/{name}/{release} {new} && mv -T {new} {link}"
    )


# --- built ---


def built(environment: Environment, conda_state: Any, box: Box = DEPLOYED) -> list[Shown]:
    return run(environments.built, environment=environment, box=box, says=says(conda_state))


def test_an_environment_is_built_beside_what_runs_and_switched_to() -> None:
    [(program, arguments), switched] = built(PYTHON3, there(python3={"current": "0123456789ab"}))
    assert program == BUILD
    assert arguments.pop("by").startswith("jupyterbox ")
    assert arguments == {
        "root": "/opt/conda",
        "name": "python3",
        "id": PYTHON3_ID,
        "conda": ["python=3.11", "ipykernel", "pip"],
        "pip": [],
        "channels": ["conda-forge"],
        "lock": None,
        "mirror": "https://conda.anaconda.org",
        "python_index": "https://pypi.org/simple",
        "hub": "/opt/jupyterhub/current",
        "cache": "/opt/jupyterhub/cache",
        "variables": {},
        "unlike": None,
    }
    assert switched == switch("python3", PYTHON3_ID)


def test_an_environment_at_its_release_stays() -> None:
    conda_state = state("conda/state-deployed")
    for environment in DEPLOYED.environments:
        assert built(environment, conda_state) == []


@pytest.mark.parametrize("current", [None, "0123456789ab"])
def test_a_complete_release_is_switched_to(current: str | None) -> None:
    complete = {"current": current, "complete": ["0123456789ab", PYTHON3_ID]}
    assert built(PYTHON3, there(python3=complete)) == [switch("python3", PYTHON3_ID)]


def test_a_current_release_that_lost_its_record_is_built_anew() -> None:
    [(program, _), switched] = built(PYTHON3, there(python3={"current": PYTHON3_ID}))
    assert program == BUILD
    assert switched == switch("python3", PYTHON3_ID)


def test_an_environment_with_everything_of_its_own() -> None:
    environment = Environment(
        name="torch",
        conda=["python=3.12", "ipykernel"],
        pip=["torch==2.4.0+cu121"],
        channels=["bioconda", "https://example.org/c"],
    )
    box = DEPLOYED.model_copy(
        update={
            "conda": CONDA.model_copy(update={"root": "/data/conda"}),
            "mirrors": Mirrors(python="https://example.org/simple"),
        }
    )
    [(_, arguments), switched] = built(environment, there(), box)
    assert arguments["root"] == "/data/conda"
    assert arguments["pip"] == ["torch==2.4.0+cu121"]
    assert arguments["channels"] == ["bioconda", "https://example.org/c"]
    assert arguments["python_index"] == "https://example.org/simple"
    assert switched == switch("torch", arguments["id"], "/data/conda")


def test_a_lock_is_uploaded_and_not_left(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    # More than a command line holds.
    lines = [f"https://example.org/noarch/package-{n}.conda#{n:064x}" for n in range(2_000)]
    lock.write_text("\n".join(["@EXPLICIT", *lines, ""]))
    environment = Environment(name="x", lock=lock)
    made, put, (_, arguments), removed, _ = built(environment, there())
    path = f"/var/cache/jupyterbox/{environment.release_id(['conda-forge'])}.txt"
    assert made == "mkdir -p /var/cache/jupyterbox"
    assert put == ("put", path, lock.read_text())
    assert arguments["lock"] == path
    assert arguments["conda"] == []
    assert removed == "rm -rf /var/cache/jupyterbox"


# --- solved anew ---


def upgraded(environment: Environment, conda_state: Any) -> list[Shown]:
    return run(
        environments.built,
        environment=environment,
        box=DEPLOYED,
        upgrade=True,
        says=says(conda_state),
    )


@pytest.mark.parametrize(
    ("complete", "further"), [([""], "-2"), (["", "-2"], "-3"), (["-9", "-10"], "-11")]
)
def test_an_upgrade_is_a_further_release_unless_nothing_is_new(
    complete: list[str], further: str
) -> None:
    there_are = [f"{PYTHON3_ID}{number}" for number in complete]
    state = there(python3={"current": there_are[0], "complete": ["0123456789ab", *there_are]})
    [(program, arguments), switched] = upgraded(PYTHON3, state)
    assert program == BUILD
    assert arguments["id"] == f"{PYTHON3_ID}{further}"
    assert arguments["unlike"] == there_are[0]
    record = f"/opt/conda/releases/python3/{PYTHON3_ID}{further}/release.json"
    assert switched == f"[ ! -e {record} ] || {{ {switch('python3', f'{PYTHON3_ID}{further}')}; }}"


def test_what_was_solved_anew_is_what_is_declared() -> None:
    complete = [PYTHON3_ID, f"{PYTHON3_ID}-2"]
    for current in complete:
        state = there(python3={"current": current, "complete": complete})
        assert built(PYTHON3, state) == []
    # After another declaration: the one that was solved last.
    state = there(python3={"current": "0123456789ab", "complete": ["0123456789ab", *complete]})
    assert built(PYTHON3, state) == [switch("python3", f"{PYTHON3_ID}-2")]


def test_an_upgrade_of_what_is_not_there_is_its_first_release() -> None:
    [(_, arguments), switched] = upgraded(PYTHON3, there())
    assert (arguments["id"], arguments["unlike"]) == (PYTHON3_ID, None)
    assert switched == switch("python3", PYTHON3_ID)


def test_an_upgrade_of_another_current_release_has_nothing_to_differ_from() -> None:
    state = there(python3={"current": "0123456789ab", "complete": [PYTHON3_ID, "0123456789ab"]})
    [(_, arguments), _] = upgraded(PYTHON3, state)
    assert (arguments["id"], arguments["unlike"]) == (f"{PYTHON3_ID}-2", None)


def test_a_locked_environment_has_nothing_to_upgrade(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(f"@EXPLICIT\nhttps://example.org/noarch/package.conda#{'0' * 64}\n")
    locked = Environment(name="x", lock=lock)
    release = locked.release_id(["conda-forge"])
    state = there(x={"current": release, "complete": [release]})
    assert upgraded(locked, state) == []
    loose = Environment(name="x", lock=lock, pip=["six"])
    release = loose.release_id(["conda-forge"])
    state = there(x={"current": release, "complete": [release]})
    assert [command[0] for command in upgraded(loose, state) if isinstance(command, tuple)] == [
        "put",
        BUILD,
    ]


# --- back ---


def rolled_back(
    release: str | None, conda_state: Any, published: Any, name: str = "python3"
) -> Any:
    return run(
        environments.rolled_back,
        environment=name,
        release=release,
        box=DEPLOYED,
        says={**says(conda_state), **programs(kernelspec_state=published)},
    )


def offered(release: str, *published: str) -> dict[str, Any]:
    """The kernel of a release, and what is published."""
    spec = {"argv": ["python"], "display_name": "Python 3", "language": "python"}
    mark = {"metadata": {"jupyterbox": {"environment": "python3", "kernel": "ir"}}}
    others = {"metadata": {"jupyterbox": {"environment": "anaconda3", "kernel": "ir"}}}
    return {
        "offered": {
            "python3": {
                "prefix": f"/opt/conda/releases/python3/{release}",
                "specs": {"python3": spec},
            }
        },
        "published": {
            **{name: {**spec, **mark} for name in published},
            "a": {**spec, **others},
        },
        "surplus": {},
    }


def test_an_environment_goes_back_with_its_kernels() -> None:
    state = there(
        python3={"current": PYTHON3_ID, "previous": "aaa", "complete": ["aaa", "bbb", PYTHON3_ID]}
    )
    for release, target in ((None, "aaa"), ("bbb", "bbb")):
        published = offered(target, "python3", "python3-ir")
        [publish, stale, switched, said] = rolled_back(release, state, published)
        assert publish[0] == "publish_kernelspec"
        assert publish[1]["spec"]["argv"] == [f"/opt/conda/releases/python3/{target}/bin/python"]
        assert publish[1]["spec"]["display_name"] == PYTHON3.label
        assert stale == "rm -rf /opt/jupyterhub/share/jupyter/kernels/python3-ir"
        # Last: what dies before has gone nowhere, and finds the same release to go to.
        assert switched == switch("python3", target)
        assert said.startswith("echo 'The next deploy moves python3 on to what is declared: ")


def test_a_deploy_stays_at_another_release_of_the_same_declaration() -> None:
    releases = [PYTHON3_ID, f"{PYTHON3_ID}-2"]
    state = there(python3={"current": releases[1], "previous": releases[0], "complete": releases})
    [_, switched] = rolled_back(None, state, offered(releases[0]))
    assert switched == switch("python3", releases[0])


def test_a_release_of_an_environment_that_is_not_declared_is_only_switched_to() -> None:
    state = there(old={"current": "bbb", "previous": "aaa", "complete": ["aaa", "bbb"]})
    assert rolled_back(None, state, {}, name="old") == [switch("old", "aaa")]


@pytest.mark.parametrize("release", ["123456789012", "12e456789012", "123456789012-2"])
def test_an_id_that_pyinfra_reads_as_a_number_is_known(release: str) -> None:
    state = there(old={"current": "bbb", "complete": [release, "bbb"]})
    assert rolled_back(parse_cli_arg(release), state, {}, name="old") == [switch("old", release)]


def test_going_back_to_where_one_is_changes_nothing() -> None:
    state = there(old={"current": "bbb", "previous": "aaa", "complete": ["aaa", "bbb"]})
    assert rolled_back("bbb", state, {}, name="old") == []


@pytest.mark.parametrize(
    ("name", "release", "sentence"),
    [
        ("nope", None, "no environment 'nope' has releases here: there are python3, r."),
        ("mine", None, "no environment 'mine' has releases here: there are python3, r."),
        (
            "python3",
            "ccc",
            "environment python3 has no release 'ccc': there are aaa, bbb (current).",
        ),
        ("r", None, "environment r has no earlier release: there are aaa (current)."),
    ],
)
def test_where_nobody_can_go_back_to(name: str, release: str | None, sentence: str) -> None:
    state = there(
        python3={"current": "bbb", "previous": "aaa", "complete": ["aaa", "bbb"]},
        mine={"plain": True},
        r={"current": "aaa", "complete": ["aaa"]},
    )
    with pytest.raises(OperationError) as caught:
        rolled_back(release, state, {}, name)
    assert str(caught.value).splitlines()[1:] == [f"  - {sentence}"]


# --- all of them ---


def test_every_environment_is_built_in_its_order() -> None:
    done = deployed(environments.build, DEPLOYED, says=says(there()))
    assert list(done) == ["Environments | Build python3", "Environments | Build anaconda3"]
    assert done["Environments | Build anaconda3"][-1] == switch("anaconda3", ANACONDA3_ID)


def test_what_an_operator_asks_for_is_solved_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def upgrades(data: Any, box: Box) -> Upgrades:
        asked.append(data)
        return Upgrades(hub=False, environments=["anaconda3"])

    monkeypatch.setattr(environments, "upgrades", upgrades)
    said = programs(conda_state=state("conda/state-deployed"))
    done = deployed(environments.build, DEPLOYED, says=said)
    assert asked == [None]
    assert done["Environments | Build python3"] == []
    [(program, arguments), _] = done["Environments | Build anaconda3"]
    assert (program, arguments["id"]) == (BUILD, f"{ANACONDA3_ID}-2")
