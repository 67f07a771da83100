"""The system's packages, where apt fetches them, and the authorities that the box trusts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.packages import AptRepositories, AptSources, MissingPackages, StaleAuthorities
from jupyterbox.settings import BASE_PACKAGES, Box, Mirrors
from operations import packages
from tests.unit.engine import Shown, deployed, fact, recorded, run

RELEASES = {
    "bookworm": ("debian", "/etc/apt/sources.list.d/debian.sources"),
    "trixie": ("debian", "/etc/apt/sources.list.d/debian.sources"),
    "jammy": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
    "noble": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
    "resolute": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
}


def shell(command: str, **env: str) -> list[str]:
    """What a command prints in a plain shell; it must not fail, or the fact would."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


# --- facts ---


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_bare_box_lacks_of_the_base_packages(release: str) -> None:
    found = fact(
        MissingPackages,
        {"dpkg-query": recorded(f"packages/missing-{release}")},
        packages=BASE_PACKAGES,
    )
    assert set(found) <= set(BASE_PACKAGES)
    assert {"python3-venv", "curl", "git"} <= set(found)
    assert "python3" not in found


def test_a_box_that_has_them_all_lacks_none() -> None:
    assert fact(MissingPackages, packages=BASE_PACKAGES) == []


def test_the_question_for_missing_packages_is_one_that_a_shell_answers(tmp_path: Path) -> None:
    # This machine's own packages are no test's business: a dpkg-query that knows two of them.
    query = tmp_path / "dpkg-query"
    query.write_text(
        "#!/bin/sh\n"
        'case "$4" in\n'
        '  curl) printf "install ok installed" ;;\n'
        '  g++:amd64) printf "install ok installed" ;;\n'
        '  git) printf "deinstall ok config-files" ;;\n'
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    query.chmod(0o755)
    command = MissingPackages().command(["curl=8.1-2", "git", "acl", "g++:amd64"])
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert MissingPackages().process(shell(command, PATH=path)) == ["git", "acl"]
    assert shell(MissingPackages().command([]), PATH=path) == []


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("bookworm", "http://deb.debian.org/debian/dists/bookworm/Release"),
        ("trixie", "http://deb.debian.org/debian/dists/trixie/Release"),
        ("noble", "http://archive.ubuntu.com/ubuntu/dists/noble/Release"),
    ],
)
def test_the_repositories_of_a_bare_box(release: str, expected: str) -> None:
    said = {"indextargets": recorded(f"packages/repositories-{release}")}
    assert fact(AptRepositories, said) == [expected]


def test_only_repositories_of_the_web_are_asked_for() -> None:
    assert AptRepositories().process(["file:/srv/debian/dists/x/Release", "E: broken"]) == []
    assert fact(AptRepositories) == []


@pytest.mark.parametrize("release", RELEASES)
def test_the_sources_of_a_bare_box(release: str) -> None:
    said = {"@@written": recorded(f"packages/sources-{release}")}
    system, active = RELEASES[release]
    assert fact(AptSources, said, path="/etc/x") == {
        "os": system,
        "codename": release,
        "active": [active],
        "written": [],
    }


def test_a_box_that_says_nothing_has_no_sources() -> None:
    empty = {"os": "", "codename": "", "active": [], "written": []}
    assert fact(AptSources, path="/etc/x") == empty


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n")) | st.just("@@os")))
def test_garbage_has_no_sources_either(lines: list[str]) -> None:
    found = AptSources().process(lines)
    assert set(found) == {"os", "codename", "active", "written"}


def test_the_question_for_sources_reads_a_file_of_ours(tmp_path: Path) -> None:
    ours = tmp_path / "ours.sources"
    ours.write_text("Types: deb\n\nURIs: http://example.org\n")
    found = AptSources().process(shell(AptSources().command(str(ours))))
    assert found["written"] == ["Types: deb", "URIs: http://example.org"]
    assert found["os"]


def test_a_certificate_is_stale_until_the_list_is_newer(tmp_path: Path) -> None:
    bundle, site, missing = (tmp_path / name for name in ("bundle", "a site.crt", "other.crt"))
    bundle.touch()
    site.touch()
    os.utime(site, (1_000, 1_000))
    command = StaleAuthorities().command([str(site), str(missing)], str(bundle))

    os.utime(bundle, (1_001, 1_001))
    assert shell(command) == [str(missing)]
    os.utime(bundle, (1_000, 1_000))
    assert shell(command) == [str(site), str(missing)]
    bundle.unlink()
    assert shell(command) == [str(site), str(missing)]


def test_a_box_that_says_nothing_has_no_stale_authorities() -> None:
    assert fact(StaleAuthorities, paths=["/x"], bundle="/y") == []


# --- packages ---


def test_missing_packages_are_installed_together() -> None:
    assert run(packages.installed, ["curl", "git", "acl"], says={"dpkg-query": "git\nacl"}) == [
        "DEBIAN_FRONTEND=noninteractive dpkg --configure -a",
        "for try in 1 2 3 4 5 6; do apt-get -qq update && exit 0; sleep 10; done; exit 1",
        "DEBIAN_FRONTEND=noninteractive apt-get -y "
        '-o Dpkg::Options::="--force-confdef" -o Dpkg::Options::="--force-confold" '
        "install --no-install-recommends -o DPkg::Lock::Timeout=300 git acl",
    ]


def test_a_declared_version_is_asked_for() -> None:
    commands = run(packages.installed, ["curl=8.1-2", "git=1"], says={"dpkg-query": "curl"})
    assert commands[-1].endswith(" curl=8.1-2")


def test_packages_that_are_there_stay() -> None:
    assert run(packages.installed, BASE_PACKAGES) == []


# --- the site's mirror ---

DEBIAN_MIRROR = """\
Types: deb
URIs: http://mirror/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
UBUNTU_MIRROR = """\
Types: deb
URIs: http://mirror/ubuntu
Suites: noble noble-updates noble-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
ELSEWHERE = """\
Types: deb
URIs: http://mirror/ubuntu
Suites: noble noble-updates
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security
Suites: noble-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def mirrored(release: str, mirrors: Mirrors, written: str = "") -> list[Shown]:
    """What is run for a mirror on a bare box, or on one where the mirror is written."""
    sources = recorded(f"packages/sources-{release}")
    if written:
        # As the operation leaves it: the file written, the distribution's own set aside.
        head, _, _ = sources.partition("@@active")
        sources = f"{head}@@active\n@@written\n{written}"
    return run(packages.mirrored, mirrors=mirrors, says={"@@written": sources})


@pytest.mark.parametrize(
    ("release", "mirrors", "content"),
    [
        ("trixie", Mirrors(apt="http://mirror/debian/"), DEBIAN_MIRROR),
        ("noble", Mirrors(apt="http://mirror/ubuntu"), UBUNTU_MIRROR),
        (
            "noble",
            Mirrors(apt="http://mirror/ubuntu", apt_security="http://security"),
            ELSEWHERE,
        ),
    ],
)
def test_apt_fetches_from_the_mirror_alone(release: str, mirrors: Mirrors, content: str) -> None:
    own = RELEASES[release][1]
    assert mirrored(release, mirrors) == [
        ("put", "/etc/apt/sources.list.d/jupyterbox-mirror.sources", content),
        f"mv {own} {own}.before-jupyterbox",
    ]
    assert mirrored(release, mirrors, content) == []


def test_another_mirror_is_written_over_the_first() -> None:
    [(put, _, content)] = mirrored("trixie", Mirrors(apt="http://other/debian"), DEBIAN_MIRROR)
    assert put == "put"
    assert content == DEBIAN_MIRROR.replace("mirror", "other")


# --- authorities ---


def test_new_authorities_are_put_into_the_list() -> None:
    path = "/usr/local/share/ca-certificates/site.crt"
    assert run(packages.trusted, names=["site.crt"], says={path: path}) == [
        "update-ca-certificates"
    ]
    assert run(packages.trusted, names=["site.crt"]) == []


# --- the layer ---


def layer(box: Box) -> dict[str, list[Shown]]:
    return deployed(packages.install, box, says={"@@written": recorded("packages/sources-trixie")})


def test_the_articles_box_takes_its_packages_from_where_it_is_set_to() -> None:
    assert layer(Box()) == {"Packages | Install the base packages": []}


def test_a_sites_box_has_its_mirror_first_and_its_authorities_after(certificate: Path) -> None:
    mirrors = Mirrors(apt="http://mirror/debian", python="http://mirror/simple")
    done = layer(Box(mirrors=mirrors, ca_certificates=[certificate]))
    assert list(done) == [
        "Packages | Take packages from the site's mirror",
        "Packages | Install the base packages",
        "Packages | Bring the authority site",
        "Packages | Trust the site's authorities",
        "Packages | Tell pip where the site's index is",
    ]
    assert (
        "put",
        "/usr/local/share/ca-certificates/site.crt",
        certificate.read_text(),
    ) in done["Packages | Bring the authority site"]


@pytest.mark.parametrize(
    ("mirrors", "trusted", "lines"),
    [
        ({"python": "http://mirror/simple"}, False, ["index-url = http://mirror/simple"]),
        ({}, True, ["cert = /etc/ssl/certs/ca-certificates.crt"]),
        (
            {"python": "http://mirror/simple"},
            True,
            ["index-url = http://mirror/simple", "cert = /etc/ssl/certs/ca-certificates.crt"],
        ),
    ],
)
def test_pip_is_told_what_differs(
    certificate: Path, mirrors: dict[str, Any], trusted: bool, lines: list[str]
) -> None:
    box = Box(mirrors=Mirrors(**mirrors), ca_certificates=[certificate] if trusted else [])
    done = layer(box)["Packages | Tell pip where the site's index is"]
    content = "# Written by Jupyterbox from the inventory.\n[global]\n" + "\n".join(lines) + "\n"
    assert ("put", "/etc/pip.conf", content) in done
    assert "chmod 644 /etc/pip.conf" in done
