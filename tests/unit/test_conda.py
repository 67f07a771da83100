"""Conda itself: installed, and where it looks for packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import OperationError

from facts.conda import CondaReleases
from jupyterbox.certificates import read_certificates
from jupyterbox.checks import SettingsError
from jupyterbox.settings import MINIFORGE_INSTALLERS, Box, Conda, Mirrors
from operations import conda
from operations.journal import noting
from tests.unit.box import CONDA, DEPLOYED, INSTALLER
from tests.unit.engine import deployed, fact, first_line, programs, recorded, run, show

STAGED = f"/var/cache/jupyterbox/{INSTALLER.sha256}.sh"
MARKER = "/opt/conda/.jupyterbox-installing"
NOT_EMPTY = '[ "$(ls -A -I lost+found /opt/conda 2>/dev/null)" ]'


def says(conda_state: Any = None, system: str = "trixie") -> dict[Any, Any]:
    """A box whose conda is so; a bare one by default."""
    bare = {first_line("conda_state"): recorded("conda/state-bare")}
    return {
        **(bare if conda_state is None else programs(conda_state=conda_state)),
        "@@architecture": recorded(f"preflight/{system}"),
    }


def there(**environments: dict[str, Any]) -> Any:
    """A conda with these environments."""
    complete: dict[str, Any] = {"current": None, "previous": None, "plain": False, "complete": []}
    found = {name: {**complete, **environment} for name, environment in environments.items()}
    return {"installed": True, "owned": True, "environments": found}


# --- the fact ---


def test_conda_as_a_deployed_box_has_it() -> None:
    found = fact(CondaReleases, {first_line("conda_state"): recorded("conda/state-deployed")})
    assert found["installed"] is True
    assert set(found["environments"]) == {"python3", "anaconda3"}
    python3 = found["environments"]["python3"]
    assert python3["current"] in python3["complete"]
    assert python3["plain"] is False


@pytest.mark.parametrize("said", [{}, {first_line("conda_state"): recorded("conda/state-bare")}])
def test_a_bare_box_has_no_conda(said: dict[Any, Any]) -> None:
    assert fact(CondaReleases, said) == {"installed": False, "owned": True, "environments": {}}


# --- conda ---


def test_conda_is_installed_by_its_checked_installer() -> None:
    assert run(conda.installed, box=DEPLOYED, says=says()) == [
        ("fetch", {"url": INSTALLER.url, "sha256": INSTALLER.sha256, "path": STAGED, "ca": ""}),
        show(noting("conda", "/opt/conda", unless=NOT_EMPTY)),
        f"umask 022 && mkdir -p /opt/conda && touch {MARKER} && chmod 600 {MARKER}",
        "umask 022; echo 'installing conda'; "
        f'flock {MARKER} sh -c "find /opt/conda -path /opt/conda/envs -prune '
        f"-o -name '*.pyc' -exec rm {{}} +; exec bash {STAGED} -b -u -p /opt/conda\" > /dev/null",
        f"rm -rf {MARKER} /var/cache/jupyterbox",
    ]


def test_conda_that_is_there_stays() -> None:
    assert run(conda.installed, box=DEPLOYED, says=says(there())) == []


def test_conda_goes_where_it_is_declared() -> None:
    box = DEPLOYED.model_copy(update={"conda": CONDA.model_copy(update={"root": "/data/conda"})})
    commands = run(conda.installed, box=box, says=says())
    assert any("-p /data/conda" in command for command in commands)
    assert not any("/opt/conda" in str(command) for command in commands)


def test_the_sites_authorities_are_trusted_with_the_installer(certificate: Path) -> None:
    box = DEPLOYED.model_copy(update={"ca_certificates": [certificate, certificate]})
    [(_, arguments), *_] = run(conda.installed, box=box, says=says())
    pem = read_certificates(certificate)
    assert arguments["ca"] == f"{pem}\n{pem}"


def test_every_architecture_has_its_installer() -> None:
    assert conda.installer_for(Conda(), "amd64") == MINIFORGE_INSTALLERS["amd64"]
    assert conda.installer_for(Conda(), "arm64") == MINIFORGE_INSTALLERS["arm64"]
    with pytest.raises(OperationError) as caught:
        conda.installer_for(Conda(), "riscv64")
    assert str(caught.value) == "Conda.installers has none for 'riscv64': it has amd64, arm64"


# --- where conda looks ---


def test_the_condarc_of_the_articles_box() -> None:
    assert yaml.safe_load(conda.condarc(Box())) == {
        "channel_alias": "https://conda.anaconda.org",
        "channels": ["conda-forge"],
    }


def test_the_condarc_of_a_site(certificate: Path) -> None:
    box = Box(
        conda=Conda(channels=["defaults", "https://x/c?a=b"], accept_anaconda_terms=True),
        mirrors=Mirrors(conda="http://[::1]:80/conda"),
        ca_certificates=[certificate],
    )
    assert yaml.safe_load(conda.condarc(box)) == {
        "channel_alias": "http://[::1]:80/conda",
        "channels": ["defaults", "https://x/c?a=b"],
        "ssl_verify": "/etc/ssl/certs/ca-certificates.crt",
        "plugins": {"auto_accept_tos": True},
    }


@given(
    channel=st.text(st.characters(codec="ascii"), min_size=1)
    | st.sampled_from(["null", "123", "1e3", "yes", "on", "0x1f", "2026-11-23", "1_000", "~"])
)
def test_every_channel_that_is_allowed_is_read_back_as_it_is(channel: str) -> None:
    try:
        box = Box(conda=Conda(channels=[channel]))
    except SettingsError:
        return
    assert yaml.safe_load(conda.condarc(box))["channels"] == box.conda.channels


# --- the layers ---


def test_conda_comes_with_its_channels_and_its_command() -> None:
    done = deployed(conda.install, DEPLOYED, says=says(there()))
    assert done["Conda | Install conda into /opt/conda"] == []
    _, put, move = done["Conda | Write the system condarc"]
    assert put == ("put", "/opt/conda/.condarc.new", conda.condarc(DEPLOYED))
    assert move.endswith("mv -T /opt/conda/.condarc.new /opt/conda/.condarc")
    assert done["Conda | Give login shells the conda command"] == [
        "ln -sfn /opt/conda/etc/profile.d/conda.sh /etc/profile.d/conda.sh.new",
        "mv -T /etc/profile.d/conda.sh.new /etc/profile.d/conda.sh",
    ]


FINGERPRINT = "34161F5BF5EB1D4BFBBB8F0A8AEB4F8B29D82806"
KEYRING = "/etc/apt/keyrings/conda.asc"
KEY = "https://repo.anaconda.com/pkgs/misc/gpgkeys/anaconda.asc"


def test_the_vendors_repository_is_trusted_for_its_own_packages_alone() -> None:
    box = Box(conda=Conda(source="apt"))
    done = deployed(conda.install, box, says={**says(), "dpkg-query": "gpg\nconda"})
    names = [name.removeprefix("Conda | ") for name in done]
    assert names[:4] == [
        "Install what fetches and reads a key",
        "Fetch the vendor's key and check its fingerprint",
        "Add the vendor's repository",
        "Install conda from the vendor's repository",
    ]
    assert done["Conda | Install what fetches and reads a key"][-1].endswith(" gpg")
    assert done["Conda | Fetch the vendor's key and check its fingerprint"] == [
        show(noting("file", KEYRING, "/etc/apt/sources.list.d/conda.sources")),
        "mkdir -p /etc/apt/keyrings",
        f"curl -fsSL {KEY} -o {KEYRING}.new",
        f"gpg --show-keys --with-colons {KEYRING}.new | grep -q '^fpr:.*:{FINGERPRINT}:' || "
        f"{{ rm -f {KEYRING}.new; echo '{KEY} is not the key {FINGERPRINT}.' >&2; exit 1; }}",
        f"mv {KEYRING}.new {KEYRING}",
    ]
    [(path, content)] = [
        (command[1], command[2])
        for command in done["Conda | Add the vendor's repository"]
        if command[0] == "put"
    ]
    assert path == "/etc/apt/sources.list.d/conda.sources"
    assert f"Signed-By: {KEYRING}" in content
    assert "URIs: https://repo.anaconda.com/pkgs/misc/debrepo/conda" in content
    assert done["Conda | Install conda from the vendor's repository"][-1].endswith(" conda")


def test_the_vendors_key_that_is_there_stays() -> None:
    stat = f"user=root group=root mode=-rw-r--r-- atime=1 mtime=1 ctime=1 size=9 '{KEYRING}'"
    assert run(conda.vendor_key, says={f"test -e {KEYRING}": stat}) == []
