"""The system's packages, where apt fetches them, and the authorities that the box trusts."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.packages import AptRepositories, MissingPackages, Site, StaleAuthorities
from jupyterbox.settings import BASE_PACKAGES, Box, Mirrors
from operations import packages
from operations.journal import noting
from tests.unit.engine import Shown, deployed, fact, recorded, run, show

RELEASES = {
    "bookworm": ("debian", "/etc/apt/sources.list.d/debian.sources"),
    "trixie": ("debian", "/etc/apt/sources.list.d/debian.sources"),
    "jammy": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
    "noble": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
    "resolute": ("ubuntu", "/etc/apt/sources.list.d/ubuntu.sources"),
}


FILES: dict[str, Any] = {"apt": packages.MIRROR, "pip": packages.PIP_CONF, "aside": packages.ASIDE}


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
def test_where_a_bare_box_fetches_from(release: str) -> None:
    said = {"@@apt": recorded(f"packages/site-{release}")}
    system, active = RELEASES[release]
    assert fact(Site, said, **FILES) == {
        "os": system,
        "codename": release,
        "active": [active],
        "aside": [],
        "apt": [],
        "pip": [],
    }


def test_a_box_that_says_nothing_fetches_from_nowhere() -> None:
    empty = {"os": "", "codename": "", "active": [], "aside": [], "apt": [], "pip": []}
    assert fact(Site, **FILES) == empty


@given(lines=st.lists(st.text(st.characters(exclude_characters="\n")) | st.just("@@os")))
def test_garbage_is_nowhere_either(lines: list[str]) -> None:
    assert Site().process(lines).keys() == Site.default().keys()


def test_the_question_reads_our_own_files(tmp_path: Path) -> None:
    ours, pip = tmp_path / "ours.sources", tmp_path / "pip.conf"
    ours.write_text("Types: deb\n\nURIs: http://example.org\n")
    pip.write_text("[global]\n")
    found = Site().process(shell(Site().command(apt=str(ours), pip=str(pip), aside=".aside")))
    assert found["apt"] == ["Types: deb", "URIs: http://example.org"]
    assert found["pip"] == ["[global]"]
    assert found["os"]


def test_a_certificate_is_stale_until_the_list_is_newer(tmp_path: Path) -> None:
    bundle, site, missing = (tmp_path / name for name in ("bundle", "a site.crt", "other.crt"))
    bundle.touch()
    site.write_text("PEM")
    digest = hashlib.sha256(b"PEM").hexdigest()
    os.utime(site, (1_000, 1_000))

    def stale(**certificates: str) -> list[str]:
        declared = {str(tmp_path / f"{name}.crt"): sha for name, sha in certificates.items()}
        return shell(StaleAuthorities().command(declared, str(bundle)))

    os.utime(bundle, (1_001, 1_001))
    assert stale(**{"a site": digest}) == []
    assert stale(**{"a site": digest, "other": digest}) == [str(missing)]
    # Another one is declared, and about to be written.
    assert stale(**{"a site": "0" * 64}) == [str(site)]
    os.utime(bundle, (1_000, 1_000))
    assert stale(**{"a site": digest}) == [str(site)]
    bundle.unlink()
    assert stale(**{"a site": digest}) == [str(site)]


def test_a_box_that_says_nothing_has_no_stale_authorities() -> None:
    assert fact(StaleAuthorities, certificates={"/x": "0" * 64}, bundle="/y") == []


# --- packages ---


def test_missing_packages_are_installed_together() -> None:
    assert run(packages.installed, ["curl", "git", "acl"], says={"dpkg-query": "git\nacl"}) == [
        show(noting("package", "git", "acl")),
        packages.READY,
        "DEBIAN_FRONTEND=noninteractive apt-get -y "
        '-o Dpkg::Options::="--force-confdef" -o Dpkg::Options::="--force-confold" '
        "install --no-install-recommends -o DPkg::Lock::Timeout=300 git acl",
    ]


def test_a_declared_version_is_asked_for() -> None:
    commands = run(packages.installed, ["curl=8.1-2", "git=1"], says={"dpkg-query": "curl"})
    assert commands[-1].endswith(" curl=8.1-2")


def test_packages_that_are_there_stay() -> None:
    assert run(packages.installed, BASE_PACKAGES) == []


# --- the site's mirrors ---

DEBIAN_MIRROR = """\
Types: deb
URIs: http://mirror/debian
Suites: trixie trixie-updates
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror/debian-security
Suites: trixie-security
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
UBUNTU_MIRROR = """\
Types: deb
URIs: http://mirror/ubuntu
Suites: noble noble-updates noble-security
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
ELSEWHERE = """\
Types: deb
URIs: http://mirror/ubuntu
Suites: noble noble-updates
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security
Suites: noble-security
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""
OURS = packages.MIRROR


def mirrored(release: str, mirrors: Mirrors, written: str = "", pip: str = "") -> list[Shown]:
    """What is run for mirrors on a bare box, or on one where a mirror is written."""
    site = recorded(f"packages/site-{release}")
    if written:
        # As the operation leaves it: the file written, the distribution's own set aside.
        head, own = site.partition("@@active")[0], RELEASES[release][1]
        site = f"{head}@@active\n@@aside\n{own}\n@@apt\n{written}@@pip\n"
    return run(packages.mirrored, box=Box(mirrors=mirrors), says={"@@apt": site + pip})


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
        ("put", OURS, content),
        f"chmod 644 {OURS}",
        f"mv {own} {own}.before-jupyterbox",
    ]
    assert mirrored(release, mirrors, content) == []


def test_another_mirror_is_written_over_the_first() -> None:
    other = DEBIAN_MIRROR.replace("mirror", "other")
    assert mirrored("trixie", Mirrors(apt="http://other/debian"), DEBIAN_MIRROR) == [
        ("put", OURS, other),
        f"chmod 644 {OURS}",
    ]


def test_without_a_mirror_the_distributions_own_sources_return() -> None:
    own = RELEASES["trixie"][1]
    assert mirrored("trixie", Mirrors(), DEBIAN_MIRROR) == [
        f"mv {own}.before-jupyterbox {own}",
        f"rm {OURS}",
    ]
    assert mirrored("trixie", Mirrors()) == []


# --- pip ---

HEAD = "# Written by Jupyterbox from the inventory.\n[global]\n"
INDEX = f"{HEAD}index-url = http://mirror/simple\n"
THEIRS = "[global]\nindex-url = http://theirs\n"
PIP = "/etc/pip.conf"


@pytest.mark.parametrize(
    ("index", "trusted", "content"),
    [
        (None, False, ""),
        ("http://mirror/simple", False, INDEX),
        (None, True, f"{HEAD}cert = /etc/ssl/certs/ca-certificates.crt\n"),
        (
            "http://mirror/simple",
            True,
            f"{INDEX}cert = /etc/ssl/certs/ca-certificates.crt\n",
        ),
    ],
)
def test_pip_is_told_what_differs(
    certificate: Path, index: str | None, trusted: bool, content: str
) -> None:
    mirrors = Mirrors(python=index) if index else Mirrors()
    box = Box(mirrors=mirrors, ca_certificates=[certificate] if trusted else [])
    assert packages.pip_conf(box) == content


@pytest.mark.parametrize(
    ("mirrors", "there", "done"),
    [
        (Mirrors(python="http://mirror/simple"), "", [("put", PIP, INDEX), f"chmod 644 {PIP}"]),
        (Mirrors(python="http://mirror/simple"), INDEX, []),
        (
            Mirrors(python="http://mirror/simple"),
            THEIRS,
            [f"mv {PIP} {PIP}.before-jupyterbox", ("put", PIP, INDEX), f"chmod 644 {PIP}"],
        ),
        (
            Mirrors(python="http://other/simple"),
            INDEX,
            [("put", PIP, INDEX.replace("mirror", "other")), f"chmod 644 {PIP}"],
        ),
        (Mirrors(), "", []),
        (Mirrors(), THEIRS, []),
        (Mirrors(), INDEX, [f"mv {PIP}.before-jupyterbox {PIP} 2>/dev/null || rm {PIP}"]),
    ],
)
def test_pips_configuration_is_ours_or_theirs(
    mirrors: Mirrors, there: str, done: list[Shown]
) -> None:
    assert mirrored("trixie", mirrors, pip=there) == done


# --- authorities ---


def test_new_authorities_are_put_into_the_list(certificate: Path) -> None:
    box = Box(ca_certificates=[certificate])
    path = "/usr/local/share/ca-certificates/site.crt"
    digest = hashlib.sha256(certificate.read_bytes()).hexdigest()
    stale = {f"{digest}  {path}": path}
    assert run(packages.trusted, box=box, says=stale) == ["update-ca-certificates"]
    assert run(packages.trusted, box=box) == []


# --- the layer ---


def layer(box: Box) -> dict[str, list[Shown]]:
    done = deployed(packages.install, box, says={"@@apt": recorded("packages/site-trixie")})
    return {name.removeprefix("Packages | "): commands for name, commands in done.items()}


def test_the_articles_box_takes_its_packages_from_where_it_is_set_to() -> None:
    done = layer(Box())
    assert list(done) == [
        "Keep upgrades from restarting users' servers",
        "Point apt and pip at the site's mirrors",
        "Install the base packages",
    ]
    [(path, content)] = [
        command[1:] for command in done.pop(next(iter(done))) if command[0] == "put"
    ]
    assert path == f"{packages.NEEDRESTART}.new"
    assert "jupyter" in content
    assert not any(done.values())


def test_a_sites_box_has_its_mirrors_first_and_its_authorities_after(certificate: Path) -> None:
    done = layer(Box(mirrors=Mirrors(apt="http://mirror/debian"), ca_certificates=[certificate]))
    assert list(done)[1:] == [
        "Point apt and pip at the site's mirrors",
        "Install the base packages",
        "Bring the authority site",
        "Trust the site's authorities",
    ]
    path = "/usr/local/share/ca-certificates/site.crt.new"
    assert ("put", path, certificate.read_text()) in done["Bring the authority site"]
