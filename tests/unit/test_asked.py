"""What an operator asks of a task: read one way everywhere, and refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError
from pyinfra_cli.util import parse_cli_arg  # type: ignore[import-untyped]

from jupyterbox.asked import Asked
from jupyterbox.settings import Box
from tests.unit.test_deploy import Operator


def asked(**written: str) -> Asked:
    """What pyinfra makes of a command line."""
    return Asked({key: parse_cli_arg(value) for key, value in written.items()})


def refused(asked: Asked) -> str:
    """Why it is refused."""
    with pytest.raises(DeployError) as caught:
        asked.check()
    return str(caught.value)


@pytest.mark.parametrize("written", ["yes", "Yes", "y", "on", "true", "True", "1"])
def test_yes(written: str) -> None:
    found = asked(homes=written)
    assert found.yes("homes") is True
    found.check()


@pytest.mark.parametrize("written", ["no", "No", "n", "off", "false", "0", None])
def test_no(written: str | None) -> None:
    found = asked(**({"homes": written} if written else {}))
    assert found.yes("homes") is False
    found.check()


@pytest.mark.parametrize("written", ["yess", "", "2", "[]", "all"])
def test_neither(written: str) -> None:
    found = asked(homes=written)
    assert found.yes("homes") is False
    assert refused(found) == f"homes={written}: say yes or no."


def test_a_path_may_begin_with_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ops")
    found = asked(to="~/backups", source="~/b.tar.gz", other="x")
    assert found.path("to") == Path("/home/ops/backups")
    assert found.needed_path("source", "Say which.") == Path("/home/ops/b.tar.gz")
    assert (found.path("other"), found.path("none")) == (Path("x"), None)
    found.check()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"to": "2026"}, "to=2026 is no path to pyinfra: write to=./2026."),
        ({"to": "1.5"}, "to=1.5 is no path to pyinfra: write to=./1.5."),
        ({"to": ""}, "to= is empty: say a path, or leave it out."),
        ({"to": "~nobody-of-that-name/x"}, "to=~nobody-of-that-name/x: there is no such home on"),
        ({"on_box": "backups"}, "on_box=backups: a path on the box begins with a slash."),
        ({"on_box": "~/backups"}, "on_box=~/backups: a path on the box begins with a slash."),
        ({"on_box": "7"}, "on_box=7 is no path to pyinfra: write on_box=./7."),
        ({"to": "a", "on_box": "/b"}, "`to=` and `on_box=` exclude each other: say one of them."),
        ({"from": "2026"}, "from=2026 is no path to pyinfra: write from=./2026."),
        ({"from": ""}, "Say which."),
    ],
)
def test_what_is_no_path_is_refused(written: dict[str, str], says: str) -> None:
    found = asked(**written)
    found.path("to"), found.path_on_box("on_box")
    if "from" in written:
        found.needed_path("from", "Say which.")
    found.not_both("to", "on_box")
    assert refused(found).startswith(says)


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = asked(homes="maybe", to="1")
    found.yes("homes"), found.path("to")
    assert refused(found) == (
        "homes=maybe: say yes or no. to=1 is no path to pyinfra: write to=./1."
    )


def test_nothing_that_is_asked_for_is_nothing() -> None:
    data: dict[str, Any] = {}
    found = Asked(data)
    assert (found.yes("x"), found.path("x"), found.path_on_box("x")) == (False, None, None)
    found.needed_path("from", "Say which.")
    assert refused(found) == "Say which."


@pytest.mark.parametrize(
    ("task", "data", "says"),
    [
        ("backup", ["homes=maybe", "to=2026"], "to=2026 is no path to pyinfra: write to=./2026."),
        ("restore", ["passphrase_file=123"], "Say which backup: `--data from=FILE`."),
        ("remove", ["env=x", "force=maybe"], "force=maybe: say yes or no."),
    ],
)
def test_a_task_asks_back_in_a_sentence(
    tmp_path: Path, task: str, data: list[str], says: str
) -> None:
    options = [word for datum in data for word in ("--data", datum)]
    done = Operator(tmp_path).run("-y", f"tasks/{task}.py", *options, box=Box(), says={})
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
