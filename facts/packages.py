"""Packages of the system, where apt fetches them, and the authorities that the box trusts."""

from __future__ import annotations

import shlex
from typing import TypedDict

from pyinfra.api.facts import FactBase

from facts.preflight import parse_os_release, split_sections


class Sources(TypedDict):
    """The system, its own sources that apt reads, and the lines of a sources file of ours."""

    os: str
    codename: str
    active: list[str]
    written: list[str]


class MissingPackages(FactBase[list[str]]):
    """The names of those packages that are not installed; `["curl"]`.

    Args:
        packages: names, or name=version (the version is not compared).
    """

    def command(self, packages: list[str] | None = None) -> str:
        names = " ".join(package.partition("=")[0] for package in packages or [])
        return (
            f"for package in {names}; do dpkg-query -W -f '${{Status}}' \"$package\" 2>/dev/null "
            "| grep -q 'ok installed' || echo \"$package\"; done; :"
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return [line.strip() for line in output]


class AptRepositories(FactBase[list[str]]):
    """The Release files of the distribution's own repositories that apt is set to.

    ```
    ["http://deb.debian.org/debian/dists/trixie/Release"]
    ```

    Others, whose failing apt forgives, are left out: theirs is another component than `main`, or
    another suite than the system's.
    """

    def command(self) -> str:
        return (
            # A box that never ran `apt-get update` has no Release files to read.
            ". /etc/os-release; apt-get indextargets --no-release-info --format "
            "'$(REPO_URI)dists/$(RELEASE)/Release $(RELEASE) $(COMPONENT)' 'Created-By: Packages' "
            '| sed -n "s/ $VERSION_CODENAME main$//p" | sort -u'
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.startswith(("http://", "https://"))]


class AptSources(FactBase[Sources]):
    """Where apt fetches from: the distribution's own sources, and a file of ours.

    Args:
        path: the file of ours.
    """

    def command(self, path: str) -> str:
        own = "/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources"
        own += " /etc/apt/sources.list.d/ubuntu.sources"
        return (
            "echo @@os; cat /etc/os-release; echo @@active; "
            f"for file in {own}; do grep -qsE '^[^#]' $file && echo $file; done; "
            f"echo @@written; cat {path} 2>/dev/null; :"
        )

    @staticmethod
    def default() -> Sources:
        return {"os": "", "codename": "", "active": [], "written": []}

    def process(self, output: list[str]) -> Sources:
        sections = split_sections(output)
        release = parse_os_release(sections.get("os", []))
        return {
            "os": release.get("ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "active": sections.get("active", []),
            "written": sections.get("written", []),
        }


class StaleAuthorities(FactBase[list[str]]):
    """Certificates that are not there yet, or newer than the system's list of authorities.

    Args:
        paths: where they lie.
        bundle: the list.
    """

    def command(self, paths: list[str], bundle: str) -> str:
        files = " ".join(shlex.quote(path) for path in paths)
        return (
            f"for file in {files}; do "
            f'[ -e "$file" ] && [ {bundle} -nt "$file" ] || echo "$file"; done'
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return output
