"""The program that waits for the hub, and says what its units say when it does not come."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.conftest import Server
from tests.unit.remote import call

UNITS = ["jupyterhub.service", "jupyterhub-proxy.service"]


def test_a_hub_that_answers_is_not_waited_for(server: Server) -> None:
    server.pages["/hub/health"] = (200, b"")
    done = call("wait_for_hub", url=f"{server.url}/hub/health", units=UNITS, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hub_that_does_not_come_shows_the_ends_of_its_journals(
    dead_url: str, tmp_path: Path
) -> None:
    journalctl = tmp_path / "journalctl"
    journalctl.write_text('#!/bin/sh\nfor unit; do :; done\necho "$unit failed, $5 $6"\n')
    journalctl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = call("wait_for_hub", env=env, url=dead_url, units=UNITS, timeout=0)
    assert done.returncode == 1
    assert done.stderr == (
        "--- jupyterhub.service, last lines of its journal:\n"
        "jupyterhub.service failed, 25 -u\n\n"
        "--- jupyterhub-proxy.service, last lines of its journal:\n"
        "jupyterhub-proxy.service failed, 25 -u\n\n"
        f"{dead_url} did not answer within 0 s.\n"
    )


def test_an_error_page_is_no_answer(server: Server, tmp_path: Path) -> None:
    server.pages["/"] = (503, b"")
    done = call("wait_for_hub", url=f"{server.url}/", units=[], timeout=0)
    assert done.stderr == f"{server.url}/ did not answer within 0 s.\n"
    assert server.requests


def test_a_unit_that_ends_again_and_again_is_not_waited_for(dead_url: str, tmp_path: Path) -> None:
    systemctl = tmp_path / "systemctl"
    # The hub has been started once more whenever it is asked for; the proxy stands.
    systemctl.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/asked; wc -l < {tmp_path}/asked; echo; echo 7\n"
    )
    systemctl.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = call("wait_for_hub", env=env, url=dead_url, units=UNITS, timeout=60)
    assert done.stderr.splitlines()[-1] == (
        f"jupyterhub.service ends whenever it is started, and {dead_url} does not answer."
    )
