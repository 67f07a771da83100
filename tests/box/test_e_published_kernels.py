"""What environments publish: every kernel that one brings, while it is declared; verify sees them.

An environment may bring kernels of other languages with packages from the Python index.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from jupyterbox import layout
from tests.box.conftest import Operator
from tests.box.user import User

pytestmark = pytest.mark.once

PYTHON_3 = f"{layout.KERNELS}/python3/kernel.json"


def verify(box: Operator, **options: Any) -> tuple[int, dict[str, str]]:
    """What tasks/verify.py finds: its exit status, and ok or FAIL for each of its rows."""
    run = box.pyinfra("-y", "tasks/verify.py", **options)
    print(run.stdout + run.stderr)
    rows = re.findall(r"\b(ok|FAIL)  +(\S.*?)  +\d+\.\d s", run.stdout + run.stderr)
    return run.returncode, {what: result for result, what in rows}


def test_an_environment_publishes_the_second_kernel_that_a_pip_package_brings(
    box: Operator, ada: User
) -> None:
    settings = box.settings()
    python = settings["environments"][0]["conda"][0]
    settings["environments"].append(
        {
            "name": "shells",
            "title": "Python and Bash",
            "conda": [python, "ipykernel", "pip"],
            "pip": ["bash_kernel"],
        }
    )
    try:
        box.deploy(settings)
        release = box.sh("readlink -f /opt/conda/envs/shells").strip()
        offered = ada.kernelspecs()
        assert offered["shells"]["display_name"] == "Python and Bash"
        assert offered["shells-bash"]["display_name"] == "Python and Bash: Bash"
        with ada.kernel("shells") as kernel:
            assert kernel.execute("import sys; print(sys.prefix)") == release
        with ada.kernel("shells-bash") as kernel:
            answer = kernel.execute('echo "$BASH $(command -v python) $((6 * 7))"')
            assert answer == f"/usr/bin/bash {release}/bin/python 42"
        status, rows = verify(box, settings=settings)
        assert status == 0
        assert rows["kernel shells"] == rows["kernel shells-bash"] == "ok"
    finally:
        box.deploy()
    assert not {"shells", "shells-bash"} & ada.kernelspecs().keys()
    # Only what everybody is shown has gone; the environment is still there to be declared again.
    box.sh(f"test -e {release}/release.json && test -e /opt/conda/envs/shells/bin/python")


def test_verify_fails_and_names_the_kernel_whose_interpreter_is_gone(box: Operator) -> None:
    before = box.sh(f"cat {PYTHON_3}")
    box.sh(f'sed -i \'s#"/opt/conda/releases/[^"]*/bin/python"#"/opt/conda/gone"#\' {PYTHON_3}')
    assert "/opt/conda/gone" in box.sh(f"cat {PYTHON_3}")
    try:
        status, rows = verify(box)
    finally:
        assert box.deploy()["success"] == 1
    assert status != 0
    assert rows == {
        "log in": "ok",
        "start a server": "ok",
        "kernel anaconda3": "ok",
        "kernel python3": "FAIL",
        "stop the server": "ok",
    }
    assert box.sh(f"cat {PYTHON_3}") == before
