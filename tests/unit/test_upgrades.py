"""What `--data upgrade=...` means."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterbox.settings import Box
from jupyterbox.upgrades import problems, upgrades

BOX = Box()


@pytest.mark.parametrize(
    ("asked", "hub", "environments"),
    [
        (None, False, []),
        ("", False, []),
        ("hub", True, []),
        ("envs", False, ["python3", "anaconda3"]),
        ("anaconda3", False, ["anaconda3"]),
        ("anaconda3, hub,", True, ["anaconda3"]),
        ("hub,envs,python3", True, ["python3", "anaconda3"]),
    ],
)
def test_what_is_asked_for(asked: Any, hub: bool, environments: list[str]) -> None:
    assert upgrades(asked, BOX) == (hub, environments)
    assert list(problems(asked, BOX)) == []


@pytest.mark.parametrize("asked", ["pyhton3", "hub,pyhton3", True])
def test_an_unknown_name_is_refused(asked: Any) -> None:
    [problem] = problems(asked, BOX)
    assert problem == (
        f"upgrade={'True' if asked is True else 'pyhton3'}: there is none of that name; allowed "
        "are hub, envs, python3, anaconda3."
    )
