"""What the facts about conda make of what a box answers: problems, and what to do about them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactValueError

from facts.conda import Conda, CondaEnvs, CondaPackages, UserCondaEnvs
from tests.unit.engine import fact, programs


def conda(condarcs: dict[str, str] | None = None, **changes: Any) -> Any:
    found = {
        "root": "/opt/conda",
        "version": "26.7.1",
        "source": "installer",
        "default_solver": "libmamba",
        "interrupted": False,
        "condarcs": condarcs or {},
        "unreadable": {},
        **changes,
    }
    return fact(Conda, programs(conda_install=found))


def test_a_bare_box_has_none_of_it() -> None:
    nothing = {"root": None, "version": None, "source": None, "solver": None}
    assert fact(Conda) == {**nothing, "channels": [], "problems": []}
    assert fact(CondaEnvs) == {"environments": {}, "problems": []}
    assert fact(UserCondaEnvs) == {"environments": [], "skipped": {}, "problems": []}
    assert fact(CondaPackages, env="python3")["packages"] == []


def test_channels_rank_as_their_files_do() -> None:
    found = conda(
        {
            "/etc/conda/.condarc": "channels: [lab, conda-forge]\n",
            "/opt/conda/.condarc": "channels:\n  - conda-forge\n  - '2026'\nsolver: rattler\n",
        }
    )
    assert found["channels"] == [
        {"name": "conda-forge", "file": "/opt/conda/.condarc"},
        {"name": "2026", "file": "/opt/conda/.condarc"},
        {"name": "lab", "file": "/etc/conda/.condarc"},
    ]
    assert (found["solver"], found["problems"]) == ("rattler", [])


def test_the_solver_is_condas_own_where_no_file_says_otherwise() -> None:
    assert conda()["solver"] == "libmamba"


def test_files_that_stop_conda_are_problems_with_their_cure() -> None:
    found = conda(
        {
            "/opt/conda/.condarc": "channels: [",
            "/etc/conda/.condarc": "- a",
            "/etc/conda/condarc": "",
        },
        unreadable={"/opt/conda/condarc": "is not a regular file"},
        interrupted=True,
    )
    assert found["problems"] == [
        {
            "problem": "/opt/conda/condarc is not a regular file: no conda command works.",
            "cure": "Mend /opt/conda/condarc.",
        },
        {
            "problem": "/opt/conda/.condarc is not YAML: no conda command works.",
            "cure": "Mend /opt/conda/.condarc.",
        },
        {
            "problem": "/etc/conda/.condarc is not a list of settings: no conda command works.",
            "cure": "Mend /etc/conda/.condarc.",
        },
        {
            "problem": "conda's installation was interrupted.",
            "cure": "Deploy again: it is finished then.",
        },
    ]


@given(text=st.text())
def test_no_condarc_raises(text: str) -> None:
    conda({"/opt/conda/.condarc": text, "/etc/conda/.condarc": f"channels: {text}"})


# --- environments ---


def environment(**changes: Any) -> dict[str, Any]:
    return {
        "prefix": "/opt/conda/envs/x",
        "path": "/opt/conda/releases/x/0123",
        "python": "3.13.5",
        "packages": 3,
        "from_pip": 0,
        "size_mb": None,
        "requested": [],
        "channels": [],
        "changed": None,
        "problems": [],
        "release": "0123",
        "built": "2026-11-23T14:02:13+00:00",
        "drift": [],
        **changes,
    }


def problems(**changes: Any) -> list[tuple[str, str]]:
    said = {"environments": {"x": environment(**changes)}, "broken": []}
    found = fact(CondaEnvs, programs(conda_envs=said))["problems"]
    return [(problem["problem"], problem["cure"]) for problem in found]


def test_a_sound_environment_is_no_problem() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("was", "now", "by", "problem", "undo"),
    [
        (None, "1.17.0", "pip", "six 1.17.0 was added by pip", "-m pip uninstall six"),
        (None, "1.17.0 py_0", "conda", "six 1.17.0 py_0 was added by conda", "conda remove "),
        ("1.16.0", None, "pip", "six 1.16.0 was removed by pip", "-m pip install six==1.16.0"),
        (
            *("1.16.0 pyhd8_0", "1.17.0 pyhd8_0", "conda"),
            "six was changed from 1.16.0 pyhd8_0 to 1.17.0 pyhd8_0 by conda",
            "conda install -p /opt/conda/releases/x/0123 six=1.16.0=pyhd8_0",
        ),
        # What pip did to conda's package, conda puts right.
        (
            *("1.16.0 pyhd8_0", "1.17.0", "pip"),
            "six was changed from 1.16.0 pyhd8_0 to 1.17.0 by pip",
            "-m pip uninstall six && conda install --force-reinstall -p ",
        ),
        (
            *("1.16.0 pyhd8_0", None, "pip"),
            "six 1.16.0 pyhd8_0 was removed by pip",
            "undo it: conda install --force-reinstall -p ",
        ),
    ],
)
def test_drift_is_told_with_the_command_that_undoes_it(
    was: str | None, now: str | None, by: str, problem: str, undo: str
) -> None:
    [(said, cure)] = problems(drift=[{"package": "six", "was": was, "now": now, "by": by}])
    assert said == f"environment 'x' has drifted: {problem}."
    assert cure.startswith("Declare it in the inventory and deploy, or undo it: ")
    assert undo in cure


def test_pip_is_told_the_name_that_it_has_for_a_package() -> None:
    row = {"package": "pytorch", "was": "2.5 py_0", "now": "2.6", "by": "pip", "pip": "torch"}
    [(said, cure)] = problems(drift=[row])
    assert said.startswith("environment 'x' has drifted: pytorch was changed from 2.5 py_0 to 2.6")
    assert "pip uninstall torch && conda install" in cure
    assert cure.endswith("pytorch=2.5=py_0.")


def test_the_same_package_of_another_channel_is_condas_to_undo() -> None:
    was, now = "https://a.example.org/six.conda", "https://b.example.org/six.conda"
    [(_, cure)] = problems(drift=[{"package": "six", "was": was, "now": now, "by": "conda"}])
    assert cure.endswith(f"conda install -p /opt/conda/releases/x/0123 {was}.")


def test_conda_itself_is_not_to_be_removed() -> None:
    said = {"environments": {"base": environment(problems=["bin/python is not there"])}}
    found = fact(CondaEnvs, programs(conda_envs={**said, "broken": []}))
    assert "remove" not in found["problems"][0]["cure"]


def test_what_only_root_may_read_is_asked_as_root() -> None:
    [(_, cure)] = problems(problems=["conda-meta is not readable for this account"])
    assert cure.startswith("Ask as root")


@pytest.mark.parametrize("text", ["!!int ''", "!!bool x", "!!timestamp x"])
def test_yaml_that_yaml_itself_stumbles_over_is_no_yaml(text: str) -> None:
    [problem] = conda({"/opt/conda/.condarc": f"channels: {text}"})["problems"]
    assert "is not YAML" in problem["problem"]


def test_damage_is_told_with_its_cure() -> None:
    path = "/opt/conda/releases/x/0123"
    cure = f"Make it anew when nobody's kernel runs in it: remove {path}, and deploy."
    assert problems(problems=["bin/python is not there"]) == [
        ("environment 'x': bin/python is not there.", cure)
    ]


def test_what_is_no_environment_is_told() -> None:
    entry = {"name": "a\nb", "path": "/opt/conda/envs/a\nb", "sentence": "is a link to c"}
    found = fact(CondaEnvs, programs(conda_envs={"environments": {}, "broken": [entry]}))
    [problem] = found["problems"]
    assert problem["problem"] == "environment 'a\\nb' is a link to c."


def test_a_home_that_was_skipped_is_a_problem() -> None:
    said = {"environments": [], "skipped": {"bob": "/home/bob did not answer within 2 s"}}
    found = fact(UserCondaEnvs, programs(user_conda_envs=said))
    [problem] = found["problems"]
    sentence = "bob's home was not looked into: /home/bob did not answer within 2 s."
    assert problem["problem"] == sentence


# --- packages ---


@pytest.mark.parametrize("arguments", [{}, {"env": "x", "prefix": "/x"}])
def test_packages_are_of_one_environment(arguments: dict[str, str]) -> None:
    with pytest.raises(FactValueError, match="either env=NAME or prefix=PATH"):
        CondaPackages().command(**arguments)


@pytest.mark.parametrize(
    ("arguments", "prefix"),
    [
        ({"env": "x"}, "/opt/conda/envs/x"),
        ({"env": "base", "root": "/srv/conda"}, "/srv/conda"),
        ({"prefix": "/home/ada/x"}, "/home/ada/x"),
    ],
)
def test_an_environment_is_found_by_name_or_prefix(arguments: dict[str, str], prefix: str) -> None:
    assert f'"prefix": "{prefix}"' in CondaPackages().command(**arguments).get_raw_value()
