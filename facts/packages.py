"""Packages of the system, where apt fetches them, and the authorities that the box trusts."""

from __future__ import annotations

import shlex

from pyinfra.api.facts import FactBase
from typing_extensions import TypedDict

from facts.preflight import parse_os_release, split_sections


class SiteState(TypedDict):
    """The system; its own apt sources, active and set aside; apt's and pip's files of ours."""

    os: str
    codename: str
    active: list[str]
    aside: list[str]
    apt: list[str]
    pip: list[str]


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
    another suite than the system's. Nothing comes back where apt has a proxy of its own: only
    apt can say then whether they answer.
    """

    def command(self) -> str:
        # It would write down what it has read.
        no_cache = "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
        return (
            '[ -z "$(apt-config shell proxy Acquire::http::Proxy)" ] || exit 0; '
            # A box that never ran `apt-get update` has no Release files to read.
            f". /etc/os-release; apt-get {no_cache} indextargets --no-release-info --format "
            "'$(REPO_URI)dists/$(RELEASE)/Release $(RELEASE) $(COMPONENT)' 'Created-By: Packages' "
            '| sed -n "s/ $VERSION_CODENAME main$//p" | sort -u'
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line.startswith(("http://", "https://"))]


class Site(FactBase[SiteState]):
    """Where apt and pip fetch from.

    ```
    {"os": "debian", "codename": "trixie", "active": [],
     "aside": ["/etc/apt/sources.list.d/debian.sources"],
     "apt": ["Types: deb", ...], "pip": ["[global]", ...]}
    ```

    Args:
        apt: the sources file of ours; its lines come back.
        pip: pip's configuration; its lines come back.
        aside: what the names of files end in that were set aside.
    """

    def command(self, apt: str, pip: str, aside: str) -> str:
        own = "/etc/apt/sources.list /etc/apt/sources.list.d/debian.sources"
        own += " /etc/apt/sources.list.d/ubuntu.sources"
        return (
            "echo @@os; cat /etc/os-release; echo @@active; "
            f"for file in {own}; do grep -qsE '^[^#]' $file && echo $file; done; echo @@aside; "
            f"for file in {own}; do [ -e $file{aside} ] && echo $file; done; "
            f"echo @@apt; cat {apt} 2>/dev/null; echo @@pip; cat {pip} 2>/dev/null; :"
        )

    @staticmethod
    def default() -> SiteState:
        return {"os": "", "codename": "", "active": [], "aside": [], "apt": [], "pip": []}

    def process(self, output: list[str]) -> SiteState:
        sections = split_sections(output)
        release = parse_os_release(sections.get("os", []))
        return {
            "os": release.get("ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "active": sections.get("active", []),
            "aside": sections.get("aside", []),
            "apt": sections.get("apt", []),
            "pip": sections.get("pip", []),
        }


class StaleAuthorities(FactBase[list[str]]):
    """Certificates that are not on the box as declared, or are newer than its list of authorities.

    Args:
        certificates: the sha256 of each, by its path.
        bundle: the list.
    """

    def command(self, certificates: dict[str, str], bundle: str) -> str:
        asked = "".join(f"{digest}  {path}\n" for path, digest in certificates.items())
        return (
            f"printf %s {shlex.quote(asked)} | while read -r digest file; do "
            'echo "$digest  $file" | sha256sum --check --status 2>/dev/null '
            f'&& [ {bundle} -nt "$file" ] || echo "$file"; done'
        )

    @staticmethod
    def default() -> list[str]:
        return []

    def process(self, output: list[str]) -> list[str]:
        return output
