"""Removal, of an environment and of everything: what goes, what stays, and who is asked before.

The box is of no use after that, so it comes last.
"""

from __future__ import annotations

import re

import pytest

from jupyterbox import layout
from tests.box import tree
from tests.box.conftest import Operator, Settings
from tests.box.user import User

REMOVE = "tasks/remove.py"
PROBLEM = re.compile(r"^(?: +\[127\.0\.0\.1\] - | +- )(.*)$", re.MULTILINE)
STAYS = re.compile(
    # Homes and accounts,
    r"/(home|root)(/|$)|/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$"
    # and what packages do not list that they have made.
    r"|/var/(cache|lib)/(apt|dpkg|debconf|ldconfig|dkms)(/|$)|/etc/ld\.so\.cache$"
    r"|/etc/(ssl/certs|alternatives)(/|$)|/etc/ca-certificates\.conf$|.*/__pycache__(/|$)"
)
PRIVATE = "/home/ada/.conda/envs/kept"
SHARE, SHARED = "/srv/datasets", f"{layout.ROOT}/share/datasets"


def refused(box: Operator, *asked: str, settings: Settings | None = None) -> str:
    """Why a removal does not take place."""
    words = [word for each in asked for word in ("--data", each)]
    run = box.pyinfra("-y", REMOVE, *words, settings=settings)
    assert run.returncode == 1, run.stderr
    [problem] = PROBLEM.findall(run.stderr)
    return str(problem)


def removed(box: Operator, *asked: str, settings: Settings | None = None) -> str:
    """Remove something; what is said meanwhile."""
    words = [word for each in asked for word in ("--data", each)]
    run = box.pyinfra("-y", REMOVE, *words, settings=settings)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stderr


@pytest.fixture
def without(box: Operator) -> Settings:
    """Settings that do not declare anaconda3 any more; the box is at what they were."""
    box.deploy()
    settings = box.settings()
    settings["environments"] = [e for e in settings["environments"] if e["name"] == "python3"]
    return settings


def test_an_environment_goes_when_nobody_declares_or_uses_it(
    box: Operator, ada: User, without: Settings
) -> None:
    assert refused(box, "env=anaconda3").startswith("environment anaconda3 is declared: ")
    with ada.kernel("anaconda3"):
        said = refused(box, "env=anaconda3", settings=without)
        assert re.match(r"it is in use by process \d+ \(\S+\) of ada in jupyter-ada-", said)
        assert sorted(ada.kernelspecs()) >= ["anaconda3", "python3"]
    removed(box, "env=anaconda3", settings=without)
    left = box.sh(f"ls -d /opt/conda/*/anaconda3* {layout.KERNELS}/anaconda3 2>&1", check=False)
    assert left.count("No such file") == 2, left
    assert "anaconda3" not in ada.kernelspecs()
    said = refused(box, "env=anaconda3", settings=without)
    # Others are there where other tests have left them.
    assert re.match(r"the box has no environment 'anaconda3': it has .*\bpython3\b", said)


def test_who_says_nothing_is_told_what_to_say(box: Operator) -> None:
    assert refused(box) == (
        "say what is to be removed: `--data env=NAME`, or `--data everything=yes`."
    )


def test_everything_goes_but_packages_homes_and_accounts(
    box: Operator, bare_tree: tree.Tree, ada: User
) -> None:
    if not bare_tree:
        pytest.skip("the box was deployed before this run")
    with ada.terminal() as terminal:
        python = box.machine.conda.get("python", "3.11")
        terminal.run(f"conda create --yes --prefix {PRIVATE} python={python}", seconds=300)
        said = refused(box, "everything=yes")
        assert "of ada in jupyter-ada-singleuser.service" in said
    box.sh(f"mkdir -p {SHARE} {SHARED} && touch {SHARE}/kept && mount --bind {SHARE} {SHARED}")
    said = refused(box, "everything=yes", "force=yes")
    assert said.startswith(f"something is mounted on {SHARED}, in what is to be removed")
    box.sh(f"umount {SHARED} && rm {SHARE}/kept && rmdir {SHARE}")
    assert box.main_pid(layout.HUB_UNIT)
    kept = removed(box, "everything=yes", "force=yes")
    assert "Packages that were installed stay: " in kept
    assert "Accounts that were made stay: " in kept
    assert "Homes stay, with all that is in them." in kept

    assert left(box, bare_tree) == []
    assert box.sh("systemctl list-units --all --plain --no-legend 'jupyter*'") == ""
    assert box.sh(f"runuser -u ada -- {PRIVATE}/bin/python -c 'import ssl; print(6 * 7)'") == "42\n"
    assert "No changes" in removed(box, "everything=yes")


def left(box: Operator, bare_tree: tree.Tree) -> list[str]:
    """What differs from the bare box, but for packages, homes and accounts; a line each."""
    listed = box.sh("cat /var/lib/dpkg/info/*.list").splitlines()
    # Debian 12's packages say /bin, which is a link to /usr/bin.
    packaged = {*listed, *(f"/usr{path}" for path in listed)}
    differs = tree.difference(plain(bare_tree), plain(box.tree()))
    paths = {line.partition(": ")[0]: line for line in differs}
    return [line for path, line in paths.items() if path not in packaged and not STAYS.match(path)]


def plain(found: tree.Tree) -> tree.Tree:
    """A file tree without times, and without sizes and times of directories."""
    shortened = {}
    for path, entry in found.items():
        mode, owner, size, _, content = entry.split(" ", 4)
        shortened[path] = f"{mode} {owner} {size} {content}"
    return shortened
