"""Kernelspecs: every environment's kernels are published under its name, and no others of ours."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.jupyter import Kernelspecs, PublishedKernelspecs
from jupyterbox import layout
from jupyterbox.settings import Box, Environment
from operations import jupyter
from tests.unit.box import ANACONDA3, ANACONDA3_ID, DEPLOYED, PYTHON3, state
from tests.unit.engine import Shown, deployed, fact, first_line, plan, programs, recorded, run

SPEC = {
    "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "metadata": {"debugger": True},
}


def box(*environments: Environment) -> Box:
    return Box(environments=[PYTHON3, *environments])


def offer(environment: Environment, **specs: Any) -> dict[str, Any]:
    """What an environment brings, at its declared release."""
    release = environment.release_id(["conda-forge"])
    return {"prefix": f"/opt/conda/releases/{environment.name}/{release}", "specs": specs}


def publishing(
    declared: Box,
    offered: dict[str, Any],
    published: dict[str, Any] | None = None,
    surplus: dict[str, dict[str, list[str]]] | None = None,
) -> list[Shown]:
    """What is run to publish."""
    there = {"published": published or {}, "offered": offered, "surplus": surplus or {}}
    return run(jupyter.kernelspecs, box=declared, says=programs(kernelspec_state=there))


# --- the fact ---


def test_kernelspecs_as_a_deployed_box_says() -> None:
    said = {first_line("kernelspec_state"): recorded("jupyter/state-deployed")}
    found = fact(PublishedKernelspecs, said, environments=["python3", "anaconda3"])
    assert set(found["published"]) == {"python3", "anaconda3"}
    assert found["published"]["python3"]["metadata"]["jupyterbox"] == {
        "environment": "python3",
        "kernel": "python3",
    }
    assert found["offered"]["python3"]["specs"]["python3"]["language"] == "python"


def test_a_box_without_python_has_no_kernelspecs() -> None:
    assert fact(PublishedKernelspecs) == {"published": {}, "offered": {}, "surplus": {}}


# --- every kernelspec ---

ROW = {
    "name": "x",
    "title": "X",
    "language": "python",
    "directory": f"{layout.KERNELS}/x",
    "user": None,
    "ours": False,
    "interpreter": "/x/bin/python",
    "prefix": "/x",
    "environment": None,
    "release": None,
    "shadowed_by": None,
    "valid_name": True,
    "problem": None,
}
OURS = {
    "name": "python3",
    "ours": True,
    "environment": "python3",
    "release": "aaa",
    "prefix": "/opt/conda/releases/python3/aaa",
}
UNREAD = {"title": None, "language": None, "interpreter": None, "prefix": None}


def problems(*rows: dict[str, Any], python3: bool = True, **said: Any) -> list[tuple[str, str]]:
    """What is wrong where the box says so, each with its cure."""
    state = {"python3_is_ours": python3, "deployed": True, "skipped": {}, **said}
    state["kernelspecs"] = [{**ROW, **row} for row in rows]
    found = fact(Kernelspecs, programs(kernelspecs=state))
    return [(entry["problem"], entry["cure"]) for entry in found["problems"]]


def test_every_kernelspec_of_a_deployed_box() -> None:
    found = fact(Kernelspecs, {first_line("kernelspecs"): recorded("jupyter/kernelspecs-deployed")})
    assert found["problems"] == []
    assert found["skipped"] == {}
    assert found["python3_is_ours"]
    assert set(found) == {"kernelspecs", "python3_is_ours", "skipped", "problems"}
    by_name = {row["name"]: row for row in found["kernelspecs"]}
    assert set(by_name) == {"anaconda3", "python3"}
    for name, row in by_name.items():
        assert row["ours"]
        assert row["environment"] == name
        assert row["prefix"] == f"/opt/conda/releases/{name}/{row['release']}"
        assert row["interpreter"] == f"{row['prefix']}/bin/python"
        assert row["directory"] == f"{layout.KERNELS}/{name}"


def test_kernelspecs_that_cannot_start_as_a_box_says() -> None:
    found = fact(Kernelspecs, {first_line("kernelspecs"): recorded("jupyter/kernelspecs-broken")})
    directory = f"{layout.KERNELS}/anaconda3"
    assert [(entry["problem"], entry["cure"]) for entry in found["problems"]] == [
        (
            "global kernelspec 'anaconda3' cannot start: kernel.json is not there.",
            f"Deploy again if it is declared; else remove it: rm -r {directory}.",
        ),
    ]
    [broken] = [row for row in found["kernelspecs"] if row["name"] == "tf2"]
    missing = "interpreter /home/demo/.conda/envs/tf2/bin/python is missing"
    assert (broken["user"], broken["problem"]) == ("demo", missing)
    [mine] = [row for row in found["kernelspecs"] if row["user"] and row["name"] == "python3"]
    assert mine["shadowed_by"] == f"{layout.KERNELS}/python3"
    assert mine["problem"]


def test_a_bare_box_has_no_kernelspecs_and_no_problems() -> None:
    nothing = {"kernelspecs": [], "python3_is_ours": False, "skipped": {}, "problems": []}
    said = {first_line("kernelspecs"): recorded("jupyter/kernelspecs-bare")}
    assert fact(Kernelspecs, said) == nothing
    assert fact(Kernelspecs) == nothing


def test_what_the_program_is_asked() -> None:
    command = Kernelspecs().command(conda_root="/c", user="ada", users=True).get_raw_value()
    arguments = json.loads(shlex.split(command)[-1])
    assert arguments == {
        "kernels": layout.KERNELS,
        "others": [
            "/opt/jupyterhub/current/share/jupyter/kernels",
            "/usr/local/share/jupyter/kernels",
            "/usr/share/jupyter/kernels",
        ],
        "hub": "/opt/jupyterhub",
        "conda_root": "/c",
        "user": "ada",
        "users": True,
    }


@pytest.mark.parametrize(
    ("row", "cure"),
    [
        (
            {**UNREAD, "name": "python3", "problem": "kernel.json is not JSON"},
            "Deploy again: it is published anew.",
        ),
        (
            {**OURS, "problem": f"its release {OURS['prefix']} is gone"},
            "Deploy again: it is published anew.",
        ),
        (
            {**OURS, "environment": None, "problem": "interpreter /bin/x is missing"},
            "Deploy again: it is published anew.",
        ),
        (
            {**OURS, "problem": f"ipykernel is not installed in {OURS['prefix']}"},
            "Make its environment anew when nobody's kernel runs in it: "
            f"remove {OURS['prefix']}, and deploy.",
        ),
        (
            {"problem": "interpreter /x/bin/python is missing"},
            "Mend what it starts, or remove it: /opt/jupyterhub/bin/jupyter kernelspec remove x.",
        ),
        (
            {**UNREAD, "problem": "kernel.json is empty"},
            f"Deploy again if it is declared; else remove it: rm -r {layout.KERNELS}/x.",
        ),
        (
            {**UNREAD, "directory": "/usr/a b", "problem": "kernel.json is empty"},
            "Mend its kernel.json, or remove it: rm -r '/usr/a b'.",
        ),
        (
            {**UNREAD, "problem": "kernel.json is not readable for ordinary accounts"},
            f"Open it to everybody: chmod -R a+rX {layout.KERNELS}/x.",
        ),
    ],
)
def test_a_global_kernelspec_that_cannot_start(row: dict[str, Any], cure: str) -> None:
    name = row.get("name", "x")
    problem = f"global kernelspec '{name}' cannot start: {row['problem']}."
    assert problems(row) == [(problem, cure)]
    # One that nobody gets harms nobody.
    assert problems({**row, "shadowed_by": "/elsewhere"}) == []


def test_a_users_kernelspec_that_cannot_start_is_the_users_to_mend() -> None:
    mine = {"user": "ada", "name": "x", "directory": "/home/ada/k"}
    assert problems({**mine, "problem": "interpreter /x is missing"}) == []


def test_a_name_is_quoted_where_it_is_shown() -> None:
    [(problem, cure)] = problems(
        {"name": "It's\n", "directory": "/usr/k", "problem": "interpreter /x is missing"}
    )
    assert problem == r"""global kernelspec "It's\n" cannot start: interpreter /x is missing."""
    assert cure.endswith("""kernelspec remove 'it'"'"'s\n'.""")


def test_a_python3_that_is_not_ours() -> None:
    cure = "Deploy again: it is published then."
    none = ("no kernelspec 'python3' is published: users get the hub's own Python as that.", cure)
    other = {"name": "Python3", "directory": "/usr/share/jupyter/kernels/Python3"}
    assert problems(python3=False) == [none]
    assert problems({**other, "user": "ada"}, python3=False) == [none]
    said = f"kernelspec 'python3' in {other['directory']} is not of environment 'python3'."
    assert problems(other, python3=False) == [(said, cure)]
    assert problems(python3=False, deployed=False) == []
    # What is known to be broken is said once, and what is unknown is not called missing.
    assert len(problems({**other, "problem": "kernel.json is empty"}, python3=False)) == 1
    skipped = {layout.KERNELS: f"{layout.KERNELS} is not readable for ordinary accounts"}
    assert problems(python3=False, skipped=skipped) == [
        (
            f"no kernelspec in {layout.KERNELS} is known: {skipped[layout.KERNELS]}.",
            f"Open it to everybody: chmod -R a+rX {layout.KERNELS}.",
        )
    ]


@pytest.mark.parametrize(
    ("at", "reason", "problem", "cure"),
    [
        (
            "bob",
            "/home/bob did not answer within 2 s",
            "bob's home was not looked into: /home/bob did not answer within 2 s.",
            "See whether what the home lies on is there: `findmnt`, `df`.",
        ),
        (
            "bob",
            "/home/bob/.local is not readable for this account",
            "bob's home was not looked into: /home/bob/.local is not readable for this account.",
            "See whose it is, and who may read it: `namei -l`.",
        ),
        (
            "/usr/kernels",
            "/usr/kernels did not answer within 2 s",
            "no kernelspec in /usr/kernels is known: /usr/kernels did not answer within 2 s.",
            "See whether what its kernels start is there: `findmnt`, `df`.",
        ),
    ],
)
def test_what_was_not_looked_into_is_a_problem(
    at: str, reason: str, problem: str, cure: str
) -> None:
    assert problems(skipped={at: reason}) == [(problem, cure)]


# --- the operation ---


def test_what_a_deployed_box_publishes_stays() -> None:
    there = state("jupyter/state-deployed")
    assert publishing(DEPLOYED, there["offered"], there["published"]) == []


def test_a_kernelspec_is_published_under_the_environments_name_and_title() -> None:
    there = state("jupyter/state-deployed")
    there["published"].pop("anaconda3")
    prefix = f"/opt/conda/releases/anaconda3/{ANACONDA3_ID}"
    assert publishing(DEPLOYED, there["offered"], there["published"]) == [
        (
            "publish_kernelspec",
            {
                "kernels": "/opt/jupyterhub/share/jupyter/kernels",
                "name": "anaconda3",
                "source": f"{prefix}/share/jupyter/kernels/python3",
                "spec": {
                    "argv": [
                        f"{prefix}/bin/python",
                        "-m",
                        "ipykernel_launcher",
                        "-f",
                        "{connection_file}",
                    ],
                    "display_name": "Anaconda3 full",
                    "language": "python",
                    "kernel_protocol_version": "5.5",
                    "env": {
                        "PATH": f"{prefix}/bin:${{PATH}}",
                        "CONDA_PREFIX": prefix,
                        "CONDA_DEFAULT_ENV": "anaconda3",
                    },
                    "metadata": {
                        "debugger": True,
                        "supported_encryption": ["curve"],
                        "jupyterbox": {"environment": "anaconda3", "kernel": "python3"},
                    },
                },
            },
        )
    ]


def test_a_command_without_a_path_is_the_releases_own() -> None:
    spec = jupyter.publish_as(PYTHON3, {"prefix": "/p", "specs": {"k": SPEC}}, "k", True)
    assert spec["argv"] == ["/p/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def test_variables_are_the_environments_over_ours_over_the_packages() -> None:
    environment = Environment(
        name="x", conda=["a"], variables={"OMP_NUM_THREADS": "4", "PATH": "/mine"}
    )
    theirs = {
        **SPEC,
        "env": {"OMP_NUM_THREADS": "1", "CONDA_PREFIX": "/built/here", "R_HOME": "/r"},
    }
    spec = jupyter.publish_as(environment, {"prefix": "/p", "specs": {"k": theirs}}, "k", True)
    assert spec["env"] == {
        "OMP_NUM_THREADS": "4",
        "CONDA_PREFIX": "/p",
        "R_HOME": "/r",
        "CONDA_DEFAULT_ENV": "x",
        "PATH": "/mine",
    }


def test_an_environment_of_several_kernels_publishes_each() -> None:
    many = Environment(name="many", title="Many", conda=["a"])
    bash = {"argv": ["python", "-m", "bash_kernel"], "display_name": "Bash"}
    nameless = {"argv": ["r"]}
    commands = publishing(
        box(many),
        {
            "python3": offer(PYTHON3, python3=SPEC),
            "many": offer(many, python3=SPEC, bash=bash, ir=nameless),
        },
    )
    shown = {args["name"]: args["spec"]["display_name"] for _, args in commands}
    assert shown == {
        "python3": "Python 3.11 (default)",
        "many": "Many",
        "many-bash": "Many: Bash",
        "many-ir": "Many: ir",
    }


def test_an_environment_without_python_is_named_after_its_first_kernel() -> None:
    r = Environment(name="r", title="R 4", conda=["r-irkernel"])
    ir = {"argv": ["/usr/bin/R"], "display_name": "R"}
    xr = {"argv": ["xr"], "display_name": "xeus R"}
    [_, first, second] = publishing(
        box(r), {"python3": offer(PYTHON3, python3=SPEC), "r": offer(r, xr=xr, ir=ir)}
    )
    published = {args["name"]: args["spec"] for _, args in (first, second)}
    assert set(published) == {"r", "r-xr"}
    assert published["r"]["argv"] == ["/usr/bin/R"]
    assert published["r"]["display_name"] == "R 4"


@pytest.mark.parametrize(
    "change",
    [
        {"display_name": "Python 3"},
        {"argv": ["/usr/bin/python3"]},
        {"env": {}},
        {"metadata": {}},
        {"interrupt_mode": "message"},
    ],
)
def test_one_that_was_changed_by_hand_is_put_right(change: dict[str, Any]) -> None:
    there = state("jupyter/state-deployed")
    there["published"]["python3"].update(change)
    [(name, arguments)] = publishing(DEPLOYED, there["offered"], there["published"])
    assert (name, arguments["name"]) == ("publish_kernelspec", "python3")


def test_one_that_is_broken_or_missing_is_published_anew() -> None:
    there = state("jupyter/state-deployed")
    there["published"]["python3"] = None
    del there["published"]["anaconda3"]
    commands = publishing(DEPLOYED, there["offered"], there["published"])
    assert [arguments["name"] for _, arguments in commands] == ["python3", "anaconda3"]


def test_one_of_ours_whose_environment_is_no_longer_declared_goes() -> None:
    there = state("jupyter/state-deployed")
    declared = DEPLOYED.model_copy(update={"environments": [PYTHON3]})
    assert publishing(declared, there["offered"], there["published"]) == [
        f"rm -rf {layout.KERNELS}/anaconda3"
    ]


@pytest.mark.parametrize("theirs", [SPEC, {**SPEC, "metadata": "x"}, None])
def test_one_that_somebody_else_put_there_stays(theirs: Any) -> None:
    there = state("jupyter/state-deployed")
    there["published"]["mine; rm -rf /"] = theirs
    assert publishing(DEPLOYED, there["offered"], there["published"]) == []


def test_two_kernels_of_one_name_are_refused() -> None:
    one = Environment(name="a", conda=["x"])
    other = Environment(name="a-bash", conda=["x"])
    offered = {
        "python3": offer(PYTHON3, python3=SPEC),
        "a": offer(one, python3=SPEC, bash=SPEC),
        "a-bash": offer(other, python3=SPEC),
    }
    there = {"published": {}, "offered": offered, "surplus": {}}
    with pytest.raises(OperationError) as caught:
        plan(jupyter.kernelspecs, box=box(one, other), says=programs(kernelspec_state=there))
    assert str(caught.value) == (
        "two kernels would be called 'a-bash', one of them 'python3' of environment 'a-bash': "
        "rename an environment"
    )


def test_a_bare_box_plans_to_publish() -> None:
    said = {first_line("kernelspec_state"): recorded("jupyter/state-bare")}
    assert plan(jupyter.kernelspecs, box=Box(), says=said)
    assert plan(jupyter.kernelspecs, box=Box())


@pytest.mark.parametrize(
    "offered",
    [
        {},
        {"python3": offer(PYTHON3)},
        {"python3": offer(ANACONDA3, python3=SPEC)},
    ],
)
def test_an_environment_that_is_not_at_its_release_is_not_published(
    offered: dict[str, Any],
) -> None:
    assert publishing(box(), offered) == ["echo 'no kernel to publish in: python3.' >&2; exit 1"]


def test_a_root_behind_a_link_is_the_same_release() -> None:
    there = offer(PYTHON3, python3=SPEC)
    there["prefix"] = there["prefix"].replace("/opt/conda", "/disk/conda")
    [(name, arguments)] = publishing(box(), {"python3": there})
    assert name == "publish_kernelspec"
    assert arguments["spec"]["env"]["CONDA_PREFIX"].startswith("/disk/conda/")


# --- releases that nothing names any more ---

PRUNE = {"directory": "/opt/conda/releases/python3", "link": "/opt/conda/envs/python3"}


@pytest.mark.parametrize("place", ["/usr/local/share/jupyter/kernels/x", f"{layout.KERNELS}/x"])
def test_an_old_release_goes_unless_a_kernelspec_names_it(place: str) -> None:
    there = state("jupyter/state-deployed")
    old = {"python3": {"aaa": [], "bbb": [place]}}
    [(program, arguments)] = publishing(DEPLOYED, there["offered"], there["published"], old)
    assert program == "prune"
    assert arguments == {**PRUNE, "names": ["aaa"], "beside": []}


def test_a_release_that_is_named_by_what_is_published_anew_goes_after_that() -> None:
    there = state("jupyter/state-deployed")
    there["published"]["python3"]["argv"] = ["/opt/conda/releases/python3/aaa/bin/python"]
    old = {"python3": {"aaa": [f"{layout.KERNELS}/python3"]}}
    publish, pruned = publishing(DEPLOYED, there["offered"], there["published"], old)
    assert publish[0] == "publish_kernelspec"
    assert pruned == ("prune", {**PRUNE, "names": ["aaa"], "beside": []})


def test_releases_stay_until_all_kernels_can_be_published() -> None:
    old: dict[str, dict[str, list[str]]] = {"python3": {"aaa": []}}
    [said] = publishing(box(), {}, {}, old)
    assert said.startswith("echo 'no kernel to publish in: python3.'")


def test_what_was_solved_anew_is_published() -> None:
    there = offer(PYTHON3, python3=SPEC)
    there["prefix"] += "-2"
    [(name, arguments)] = publishing(box(), {"python3": there})
    assert name == "publish_kernelspec"
    assert arguments["spec"]["argv"][0] == f"{there['prefix']}/bin/python"


def test_the_layer_is_this_operation() -> None:
    there = state("jupyter/state-deployed")
    assert deployed(jupyter.publish, DEPLOYED, says=programs(kernelspec_state=there)) == {
        "Kernelspecs | Publish the environments' kernels": []
    }
