"""What a person asks first of a box, as real boxes answered it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.box import System
from tests.unit.engine import fact, first_line, recorded


def system(recording: str) -> Any:
    """What the fact is on a box that was recorded."""
    return fact(System, {first_line("system_state"): recorded(f"box/{recording}")})


def test_a_bare_box_has_nothing_to_complain_of() -> None:
    found = system("system-bare")
    assert found["os"] == {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)"}
    assert (found["hostname"], found["architecture"]) == ("record-system", "x86_64")
    assert found["virtualization"] == "systemd-nspawn"
    assert [(disk["mount"], disk["type"]) for disk in found["disks"]] == [("/", "ext4")]
    assert (found["failed_units"], found["reboot_pending"], found["gpus"]) == ([], [], [])
    # Nobody has asked for updates yet.
    assert found["updates"]["security"] is None
    assert found["skipped"] == {"updates": "apt has no package list of a security archive"}
    assert found["problems"] == []


def test_a_container_is_up_since_it_started_and_not_since_its_host_did() -> None:
    assert system("system-bare")["uptime_seconds"] < 60


def test_a_deployed_box_has_nothing_to_complain_of() -> None:
    found = system("system-deployed")
    assert found["updates"]["security"] == []
    assert found["updates"]["archives"] == ["trixie-security"]
    assert (found["skipped"], found["problems"]) == ({}, [])


def test_a_box_with_packages_that_have_security_updates() -> None:
    found = system("system-outdated")
    assert [each["package"] for each in found["updates"]["security"]] == [
        "gzip",
        "less",
        "libexpat1",
    ]
    [problem] = found["problems"]
    # Somebody holds `less` where it is.
    assert problem["problem"] == "Security updates wait: gzip, libexpat1."
    assert "full-upgrade" in problem["cure"]


def test_a_box_without_python_is_an_empty_one() -> None:
    assert fact(System) == System.default()


@pytest.mark.parametrize("changed", [{"cores": "2"}, {"load": None}, {"disks": [{"mount": "/"}]}])
def test_another_shape_is_refused_by_the_name_of_what_is_wrong(changed: dict[str, Any]) -> None:
    text = json.dumps(json.loads(recorded("box/system-bare")) | changed)
    with pytest.raises(FactProcessError, match=next(iter(changed))):
        System().process([text])
