"""What a demo box's root is made of, and where that comes from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jupyterbox.demo import DemoError, root
from jupyterbox.demo.host import apt_repositories, missing_packages
from jupyterbox.demo.root import DEBIAN, UBUNTU, Archives, Recipe, find_archives, recipe_for

FakeCommand = Callable[[str, str], None]

RECIPE = Recipe(
    release="trixie",
    architecture="amd64",
    archives=Archives("http://deb.example/debian", "http://deb.example/debian-security"),
    packages=("sudo", "openssh-server"),
    script="#!/bin/sh\n",
)


@pytest.fixture
def fake_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    """Puts a command first on PATH that prints what it is given."""

    def make(name: str, output: str) -> None:
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return make


@pytest.fixture
def bare_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose apt knows no repositories, with no mirror set."""
    monkeypatch.delenv(root.MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(root, "apt_repositories", lambda origin: {})


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, release="bookworm"),
        replace(RECIPE, architecture="arm64"),
        replace(RECIPE, archives=replace(RECIPE.archives, main="http://mirror.example/debian")),
        replace(RECIPE, archives=replace(RECIPE.archives, security="http://mirror.example/sec")),
        replace(RECIPE, packages=("sudo",)),
        replace(RECIPE, script="#!/bin/sh\ntrue\n"),
    ],
)
def test_everything_that_makes_a_root_is_in_its_key(other: Recipe) -> None:
    assert other.key != RECIPE.key


def test_the_key_names_the_release_and_ignores_the_order_of_packages() -> None:
    assert RECIPE.key.startswith("trixie-")
    assert replace(RECIPE, packages=("openssh-server", "sudo")).key == RECIPE.key


def test_an_unknown_release_is_refused_with_those_there_are() -> None:
    with pytest.raises(DemoError, match=r"'sarge'.*bookworm, trixie, jammy, noble, resolute"):
        recipe_for("sarge")


@pytest.mark.usefixtures("bare_host")
def test_the_public_archives_are_what_remains() -> None:
    assert find_archives(DEBIAN, "arm64") == DEBIAN.archives
    assert find_archives(UBUNTU, "amd64") == UBUNTU.archives
    assert "ports.ubuntu.com" in find_archives(UBUNTU, "arm64").main


def test_the_hosts_own_mirror_is_used(bare_host: None, monkeypatch: pytest.MonkeyPatch) -> None:
    of_host = {
        "trixie-updates": "http://mirror.example/debian",
        "trixie": "http://mirror.example/debian",
        "trixie-security": "http://security.example/debian-security",
    }
    monkeypatch.setattr(
        root, "apt_repositories", lambda origin: of_host if origin == "Debian" else {}
    )
    assert find_archives(DEBIAN, "amd64") == Archives(
        "http://mirror.example/debian", "http://security.example/debian-security"
    )
    assert find_archives(UBUNTU, "amd64") == UBUNTU.archives


def test_the_variable_wins_and_names_the_security_archive_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(root, "apt_repositories", lambda origin: {"trixie": "http://host.example"})
    monkeypatch.setenv(root.MIRROR_VARIABLE, "http://mirror.example/pool/")
    assert find_archives(DEBIAN, "amd64") == Archives(
        "http://mirror.example/pool", "http://mirror.example/pool-security"
    )
    assert find_archives(UBUNTU, "amd64") == Archives(
        "http://mirror.example/pool", "http://mirror.example/pool"
    )


@pytest.mark.usefixtures("bare_host")
@pytest.mark.parametrize(("scheme", "expected"), [("http", False), ("https", True)])
def test_certificates_come_with_an_https_mirror_only(
    scheme: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(root.MIRROR_VARIABLE, f"{scheme}://mirror.example/debian")
    assert ("ca-certificates" in recipe_for("trixie").packages) is expected


def test_apt_is_asked_where_a_distribution_comes_from(fake_command: FakeCommand) -> None:
    fake_command(
        "apt-get",
        "Debian trixie http://mirror.example/debian/\n"
        "Debian trixie-backports cdrom://disc\n"
        "Ubuntu noble http://archive.example/ubuntu/\n"
        "  http://not-fetched-yet.example/\n",
    )
    assert apt_repositories("Debian") == {"trixie": "http://mirror.example/debian"}


def test_only_what_is_installed_counts_as_there(fake_command: FakeCommand) -> None:
    fake_command("dpkg-query", "installed openssh-client\nconfig-files mmdebstrap")
    wanted = ["mmdebstrap", "openssh-client", "systemd-container"]
    assert missing_packages(wanted) == ["mmdebstrap", "systemd-container"]
