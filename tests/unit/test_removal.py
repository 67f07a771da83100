"""Removal: what is asked before, what goes in which order, and what is told to stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from facts.belongings import Belongings
from facts.driver_setup import BLACKLIST
from jupyterbox import layout
from jupyterbox.settings import Mirrors
from operations import packages, removal
from tests.unit.box import DEPLOYED, state
from tests.unit.engine import Shown, deployed, fact, programs, recorded, run

WITHOUT = DEPLOYED.model_copy(update={"environments": DEPLOYED.environments[:1]})
NOTHING: dict[str, Any] = Belongings.default()  # type: ignore[assignment]
ADA = {"pid": 4711, "name": "python3", "user": "ada", "server": "jupyter-ada-singleuser.service"}
SOMEBODY = {"pid": 12, "name": "R", "user": None, "server": None}
UNITS = [layout.unit_file(unit) for unit in (layout.HUB_UNIT, layout.PROXY_UNIT)]
FOLDERS = [
    "/etc/apt/apt.conf.d",
    "/etc/apt/keyrings",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/etc/modprobe.d",
    "/etc/modules-load.d",
    "/etc/needrestart/conf.d",
    "/etc/pam.d",
    "/etc/systemd/system",
    "/etc/systemd/system/nvidia-persistenced.service.d",
    "/etc/udev/rules.d",
    "/var/log",
]
DIRECTORIES = ["/opt/conda", "/opt/jupyterhub", "/var/lib/jupyterhub"]
RELOAD = (
    "systemctl daemon-reload && systemctl reset-failed "
    "jupyterhub.service jupyterhub-proxy.service 2>/dev/null; :"
)
FORCED = "`--data force=yes` removes it all the same."
IN_USE = (
    "it is in use by process 4711 (python3) of ada in jupyter-ada-singleuser.service, "
    f"process 12 (R) of nobody known: stop that first. {FORCED}"
)


def says(conda: Any = None, **there: Any) -> dict[Any, Any]:
    """A deployed box that has so much of ours on it."""
    return {
        **programs(
            conda_state=conda or state("conda/state-deployed"),
            kernelspec_state=state("jupyter/state-deployed"),
            belongings={**NOTHING, **there},
        ),
        "@@apt": recorded("packages/site-trixie"),
    }


def problems(said: dict[Any, Any], **asked: Any) -> list[str]:
    """What a removal is refused for."""
    with pytest.raises(OperationError) as caught:
        deployed(removal.remove, box=asked.pop("box", WITHOUT), says=said, **asked)
    return [line.removeprefix("  - ") for line in str(caught.value).split("\n")[1:]]


# --- what is asked for ---


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"env": ""},
        {"env": "r", "everything": True},
        {"env": 0, "everything": True},
    ],
)
def test_whoever_asks_for_nothing_or_for_both_is_told_what_there_is(asked: dict[str, Any]) -> None:
    assert problems(says(), **asked) == [
        "say what is to be removed: `--data env=NAME`, or `--data everything=yes`."
    ]


@pytest.mark.parametrize(("env", "name"), [(0, "0"), (123, "123")])
def test_a_name_that_looks_like_a_number_is_a_name(env: int, name: str) -> None:
    assert problems(says(), env=env) == [
        f"the box has no environment {name!r}: it has anaconda3, python3."
    ]


# --- an environment ---

ENVIRONMENT = {
    "files": ["/opt/conda/envs/anaconda3"],
    "directories": ["/opt/conda/releases/anaconda3"],
}


def test_an_environment_goes_with_its_kernels_first() -> None:
    done = deployed(removal.remove, box=WITHOUT, env="anaconda3", says=says(**ENVIRONMENT))
    assert done == {
        "Removal | Remove environment anaconda3": [
            (
                "remove",
                {
                    "files": ENVIRONMENT["files"],
                    "directories": [f"{layout.KERNELS}/anaconda3", *ENVIRONMENT["directories"]],
                },
            )
        ]
    }


def test_a_declared_environment_stays() -> None:
    assert problems(says(), env="anaconda3", box=DEPLOYED, force=True) == [
        "environment anaconda3 is declared: the next deploy would build it again. Take it out of "
        "the inventory first."
    ]


@pytest.mark.parametrize("name", ["nope", "../..", "anaconda3/.."])
def test_an_environment_that_is_not_there(name: str) -> None:
    assert problems(says(), env=name) == [
        f"the box has no environment {name!r}: it has anaconda3, python3."
    ]


def test_an_environment_that_was_made_by_hand_stays() -> None:
    conda = state("conda/state-deployed")
    conda["environments"]["anaconda3"]["plain"] = True
    assert problems(says(conda), env="anaconda3", force=True) == [
        "/opt/conda/envs/anaconda3 was made by hand: it is not this project's to remove."
    ]


def test_a_link_that_leads_elsewhere_is_not_removed_and_not_said_to_be() -> None:
    said = says(by_hand=["/opt/conda/envs/anaconda3"])
    assert problems(said, env="anaconda3", force=True) == [
        "/opt/conda/envs/anaconda3 is a link that leads elsewhere: it is not this project's to "
        "remove. Remove it yourself; what is left of the environment goes then."
    ]


def test_an_environment_stays_while_something_is_mounted_in_it() -> None:
    said = says(**ENVIRONMENT, mounts=[f"/mnt/{number}" for number in range(7)])
    assert problems(said, env="anaconda3", force=True) == [
        "something is mounted on /mnt/0, /mnt/1, /mnt/2, /mnt/3, /mnt/4, and 2 more, in what is to "
        "be removed, and what lies there would go with it: unmount it first."
    ]


def test_an_environment_that_is_in_use_goes_by_force_alone() -> None:
    said = says(**ENVIRONMENT, users=[ADA, SOMEBODY])
    assert problems(said, env="anaconda3") == [IN_USE]
    [commands] = deployed(
        removal.remove, box=WITHOUT, env="anaconda3", force=True, says=said
    ).values()
    assert len(commands) == 1


def test_many_users_are_counted() -> None:
    [said] = removal.lived_on([ADA] * 7)  # type: ignore[list-item]
    assert said.count("4711") == 5 and ", and 2 more: stop" in said


def test_kernelspecs_of_others_are_nobodys() -> None:
    for spec in (None, {}, {"metadata": None}, {"metadata": {"jupyterbox": "anaconda3"}}):
        assert not removal.is_of("anaconda3", spec)


# --- everything ---


def everything(said: dict[Any, Any], force: bool = False) -> list[list[Shown]]:
    """The commands of each of its operations."""
    box = DEPLOYED.model_copy(update={"mirrors": Mirrors(apt="http://site/debian")})
    return [*deployed(removal.remove, box=box, everything=True, force=force, says=said).values()]


def test_everything_goes_and_the_journal_last() -> None:
    files = [*UNITS, packages.NEEDRESTART, BLACKLIST]
    journal = {"package": ["curl", "git"], "account": ["ada"], "hold": ["nvidia-driver"]}
    said = says(files=files, directories=DIRECTORIES, journal=journal)
    assert everything(said) == [
        ["systemctl disable --quiet --now jupyterhub.service jupyterhub-proxy.service"],
        [],
        [
            "apt-mark unhold nvidia-driver >/dev/null 2>&1; :",
            "printf '%s\\n' 'Packages that were installed stay: curl, git.' "
            "'Accounts that were made stay: ada.' 'Homes stay, with all that is in them.'",
            noted("daemon-reload", "update-initramfs"),
            ("remove", {"files": files, "directories": [], "folders": FOLDERS}),
            RELOAD,
            "update-initramfs -u -k all",
            ("remove", {"files": [], "directories": DIRECTORIES}),
        ],
    ]


def noted(*due: str) -> str:
    """The command that notes what is due once files are gone."""
    return (
        "mkdir -p -m 700 /var/lib/jupyterhub && printf '%s\\n' "
        + " ".join(f"'due {what}'" for what in due)
        + " >>/var/lib/jupyterhub/journal && sync /var/lib/jupyterhub/journal /var/lib/jupyterhub"
    )


def test_what_a_removal_that_was_cut_off_left_undone_is_done_by_the_next() -> None:
    due = ["daemon-reload", "update-ca-certificates", "update-initramfs", "of a later version"]
    said = says(directories=DIRECTORIES[1:], journal={"due": due})
    *_, commands = everything(said)
    assert commands[1:] == [
        ("remove", {"files": [], "directories": [], "folders": FOLDERS}),
        RELOAD,
        "update-ca-certificates",
        "update-initramfs -u -k all",
        ("remove", {"files": [], "directories": DIRECTORIES[1:]}),
    ]
    # One that came no further than some of the files notes the rest.
    *_, commands = everything(says(files=[BLACKLIST], journal={"due": ["daemon-reload"]}))
    assert commands[1] == noted("update-initramfs")
    assert RELOAD in commands and commands[-1][1]["directories"] == [layout.STATE]


def test_the_folder_of_a_file_that_is_gone_goes_too() -> None:
    said = says(directories=DIRECTORIES, journal={"file": ["/etc/made/for/it"]})
    *_, commands = everything(said)
    assert "/etc/made/for" in commands[1][1]["folders"]


def test_the_sites_own_authorities_and_mirrors_go() -> None:
    said = says(files=["/usr/local/share/ca-certificates/site.crt"])
    said["@@apt"] = said["@@apt"].replace("@@apt", "@@apt\nTypes: deb")
    box = DEPLOYED.model_copy(update={"ca_certificates": [Path("/here/site.pem")]})
    _, mirrors, commands = deployed(removal.remove, box=box, everything=True, says=said).values()
    assert mirrors[-1] == f"rm {packages.MIRROR}"
    assert commands[-2] == "update-ca-certificates"


def test_a_box_that_has_nothing_of_ours_stays_as_it_is() -> None:
    assert everything(says()) == [[], [], []]
    assert everything({"@@apt": recorded("packages/site-trixie")}) == [[], [], []]


def test_everything_stays_while_something_is_mounted_in_it() -> None:
    said = says(files=UNITS, directories=DIRECTORIES, mounts=["/opt/jupyterhub/data"])
    for force in (False, True):
        assert problems(said, everything=True, force=force) == [
            "something is mounted on /opt/jupyterhub/data, in what is to be removed, and what lies "
            "there would go with it: unmount it first."
        ]


def test_what_many_have_made_by_hand_is_counted() -> None:
    [said] = removal.by_hand({**NOTHING, "by_hand": [f"/envs/{n}" for n in range(7)]})  # type: ignore[typeddict-item]
    assert "/envs/4, and 2 more. Move it away." in said


def test_everything_stays_while_somebody_uses_it() -> None:
    said = says(
        files=UNITS, directories=DIRECTORIES, users=[ADA, SOMEBODY], by_hand=["/opt/conda/envs/x"]
    )
    assert problems(said, everything=True) == [
        IN_USE,
        "it was made by hand, and would go with conda: /opt/conda/envs/x. Move it away. " + FORCED,
    ]
    stopped, _, removed = everything(said, force=True)
    assert stopped == [
        "systemctl stop 'jupyter-*-singleuser.service'",
        "systemctl disable --quiet --now jupyterhub.service jupyterhub-proxy.service",
    ]
    assert removed


def test_it_is_asked_again_when_it_is_executed() -> None:
    [command] = run(
        removal.stopped, box=DEPLOYED, says=says(files=UNITS, users=[ADA]), planning=False
    )
    assert "process 4711 (python3) of ada" in command[0]


def test_the_fact_asks_for_one_environment_or_for_all() -> None:
    assert fact(Belongings, programs(belongings=NOTHING)) == NOTHING
    one = Belongings().command(env="r").get_raw_value()
    assert '"name": "r"' in one and layout.STATE not in one.partition('"conda"')[2]
