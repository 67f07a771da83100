"""What the inventory declares: every rule, every refusal in one sentence, and what a release is."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel, SecretStr

from jupyterbox.certificates import read_certificates
from jupyterbox.checks import Setting, SettingsError
from jupyterbox.connection import NoDelay
from jupyterbox.environment_files import read_environment_file
from jupyterbox.settings import (
    ANACONDA_PACKAGES,
    BASE_PACKAGES,
    MINIFORGE_INSTALLERS,
    REPOSITORY,
    Box,
    Conda,
    Environment,
    Gpu,
    Group,
    Hub,
    Installer,
    Mirrors,
    User,
)

PYINFRA = str(Path(sys.executable).with_name("pyinfra"))
SETTINGS = [Box, Hub, Conda, Installer, Mirrors, Environment, Group, User, Gpu]
HASH = "0" * 64
PYTHON3 = {"name": "python3", "conda": ["python"]}

URL = "a URL begins with http://HOST, https://HOST or file:///, and has no spaces or quotes"
CREDENTIALS = "a URL carries no user and password"
CHANNEL = "a channel is a name (letters, digits and . _ - /) or a URL"
PACKAGE = "a package begins with its name, not with - or space"
SYSTEM_PACKAGE = "a package of the system is a name, or name=version"
ACCOUNT = "a name has lower-case letters, digits, _ and -, and begins with a letter or _"
SITE_NAME = "a name of a user or group has no : and no / in it"
PATH = "a path begins with / and has letters, digits and . _ + - between them"
ENVIRONMENT = (
    "an environment has a name, not a path: lower-case letters, digits and . _ -, and it begins "
    "with a letter or a digit"
)
HOLDS = "say what it holds, by conda, file or lock"
CRYPT = "a password hash is written as crypt(5) does, $id$salt$hash"


def refusal(model: type[Setting], settings: dict[str, Any]) -> str:
    """The sentence that refuses some settings."""
    with pytest.raises(SettingsError) as caught:
        model(**settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "setting", "value", "says"),
    [
        (Hub, "port", 0, "input should be greater than or equal to 1"),
        (Hub, "port", 65536, "input should be less than or equal to 65535"),
        (Hub, "proxy_api_port", 65536, "input should be less than or equal to 65535"),
        (Hub, "hub_port", -1, "input should be greater than or equal to 1"),
        (
            Hub,
            "port",
            "http",
            "input should be a valid integer, unable to parse string as an integer",
        ),
        (Hub, "address", "localhost", "an address is numbers: 0.0.0.0, ::1"),
        (Hub, "address", "1.2.3", "an address is numbers: 0.0.0.0, ::1"),
        (Hub, "address", "fe80::1%eth0", "an address is numbers: 0.0.0.0, ::1"),
        (Hub, "base_url", "/jupyter", "it begins and ends with /, like /jupyter/"),
        (Hub, "base_url", "jupyter/", "it begins and ends with /, like /jupyter/"),
        (Hub, "base_url", "/../", "it begins and ends with /, like /jupyter/"),
        (Hub, "base_url", "/a b/", "it begins and ends with /, like /jupyter/"),
        (Hub, "default_url", "lab", "it begins with /, like /lab"),
        (Hub, "default_url", '/"', "it begins with /, like /lab"),
        (Hub, "allowed_users", "ada", "input should be a valid list"),
        (Hub, "minimum_uid", 0, "input should be greater than or equal to 1"),
        (Hub, "lock", "/nowhere", "a lock is a directory with requirements.txt in it"),
        (Hub, "lock", 3, "a path is a text or a Path"),
        (Mirrors, "apt", "ftp://example.org", URL),
        (Mirrors, "apt_security", "example.org", URL),
        (Mirrors, "python", "https://", URL),
        (Mirrors, "python", "https:///simple", URL),
        (Mirrors, "npm", "https://example.org/a b", URL),
        (Mirrors, "npm", "https://example.org/'", URL),
        (Mirrors, "conda", "https://example.org/\nchannels: [x]", URL),
        (Mirrors, "conda", "http://[::1", URL),
        (Mirrors, "python", 3, "input should be a valid string"),
        (Mirrors, "cuda", "developer.download.nvidia.com", URL),
        (Gpu, "branch", "580.95.05", "a branch is three digits, like '580'"),
        (Gpu, "branch", "latest", "a branch is three digits, like '580'"),
        (Gpu, "branch", 580, "input should be a valid string"),
        (Gpu, "flavour", "free", "input should be 'open' or 'proprietary'"),
        (Gpu, "source", "ppa", "input should be 'distribution' or 'cuda'"),
        (Conda, "source", "snap", "input should be 'installer' or 'apt'"),
        (Conda, "root", "conda", PATH),
        (Conda, "root", "/", PATH),
        (Conda, "root", "/opt/../etc", PATH),
        (Conda, "root", "/opt/./conda", PATH),
        (Conda, "root", "/opt/a b", PATH),
        (Conda, "root", "/opt/$(reboot)", PATH),
        (
            Conda,
            "accept_anaconda_terms",
            "maybe",
            "input should be a valid boolean, unable to interpret input",
        ),
        (Environment, "name", "../x", ENVIRONMENT),
        (Environment, "name", "a/b", ENVIRONMENT),
        (Environment, "name", "", ENVIRONMENT),
        (Environment, "name", ".x", ENVIRONMENT),
        (Environment, "name", "Python3", ENVIRONMENT),
        (Environment, "name", "a" * 65, ENVIRONMENT),
        (Environment, "name", 3, "input should be a valid string"),
        (Environment, "title", "one\ntwo", "a title is one line"),
        (Environment, "conda", "numpy", "input should be a valid list"),
        (Environment, "file", 3, "a path is a text or a Path"),
        (Environment, "lock", "/nowhere", "it cannot be read: No such file or directory"),
        (Environment, "lock", "/", "it cannot be read: Is a directory"),
        (Group, "name", "l/ab", ACCOUNT),
        (Group, "gid", 0, "input should be greater than or equal to 1"),
        (User, "name", "ada:x", ACCOUNT),
        (User, "name", "-ada", ACCOUNT),
        (User, "name", "a" * 33, ACCOUNT),
        (User, "uid", 0, "input should be greater than or equal to 1"),
        (User, "shell", "bash", PATH),
        (Installer, "url", "Miniforge3.sh", URL),
        (Installer, "sha256", "abc", "a sha256 is 64 digits and letters a to f"),
        (Installer, "sha256", "A" * 64, "a sha256 is 64 digits and letters a to f"),
        (Box, "hub", 3, "input should be a valid dictionary or instance of Hub"),
        (Box, "environments", "python3", "input should be a valid list"),
        (
            Box,
            "allow_any_os",
            "why not",
            "input should be a valid boolean, unable to interpret input",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence_with_setting_value_and_what_is_allowed(
    model: type[Setting], setting: str, value: Any, says: str
) -> None:
    needed: dict[type, dict[str, Any]] = {
        Environment: {"name": "x", "conda": ["a"]},
        Group: {"name": "lab"},
        User: {"name": "ada"},
        Installer: {"url": "https://example.org/x.sh", "sha256": HASH},
    }
    settings = {**needed.get(model, {}), setting: value}
    if setting in ("file", "lock") and model is Environment:
        del settings["conda"]

    assert refusal(model, settings) == f"{model.__name__}.{setting} is {value!r}: {says}."


@pytest.mark.parametrize(
    ("model", "settings", "sentence"),
    [
        (Hub, {"allowed_users": ["ada", "a:b"]}, f"Hub.allowed_users.1 is 'a:b': {SITE_NAME}."),
        (Hub, {"allowed_groups": ["x/y"]}, f"Hub.allowed_groups.0 is 'x/y': {SITE_NAME}."),
        (Hub, {"admins": [""]}, f"Hub.admins.0 is '': {SITE_NAME}."),
        (Hub, {"admin_groups": ["a\n"]}, f"Hub.admin_groups.0 is 'a\\n': {SITE_NAME}."),
        (Conda, {"channels": ["--help"]}, f"Conda.channels.0 is '--help': {CHANNEL}."),
        (Conda, {"channels": ["a # b"]}, f"Conda.channels.0 is 'a # b': {CHANNEL}."),
        (Conda, {"channels": ["a://b"]}, f"Conda.channels.0 is 'a://b': {URL}."),
        (
            Conda,
            {"source": "apt", "root": "/srv/conda"},
            "Conda: the vendor's package has its root in /opt/conda: leave root out.",
        ),
        (
            Conda,
            {"channels": []},
            "Conda.channels: List should have at least 1 item after validation, not 0.",
        ),
        (
            Conda,
            {"installers": {"ppc64": {"url": "https://example.org/x", "sha256": HASH}}},
            "Conda.installers.ppc64 is 'ppc64': input should be 'amd64' or 'arm64'.",
        ),
        (
            Conda,
            {"installers": {"amd64": {"url": "https://example.org/x"}}},
            "Installer.sha256 is not set: it is needed.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a", "--b"]},
            f"Environment.conda.1 is '--b': {PACKAGE}.",
        ),
        (Environment, {"name": "x", "conda": [""]}, f"Environment.conda.0 is '': {PACKAGE}."),
        (
            Environment,
            {"name": "x", "conda": ["a"], "pip": ["-r x"]},
            f"Environment.pip.0 is '-r x': {PACKAGE}.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a\nb"]},
            f"Environment.conda.0 is 'a\\nb': {PACKAGE}.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a"], "channels": ["-c"]},
            f"Environment.channels.0 is '-c': {CHANNEL}.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a"], "channels": []},
            "Environment.channels: List should have at least 1 item after validation, not 0.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a"], "variables": {"A B": "1"}},
            "Environment.variables.A B is 'A B': a variable's name has letters, digits and _.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a"], "variables": {"A": 1}},
            "Environment.variables.A is 1: input should be a valid string.",
        ),
        (Environment, {"name": "x"}, f"Environment: x: {HOLDS}."),
        (Environment, {"name": "x", "pip": ["six"]}, f"Environment: x: {HOLDS}."),
        (Environment, {"conda": ["a"]}, "Environment.name is not set: it is needed."),
        (
            Hub,
            {"port": 8001},
            "Hub: port 8001, proxy_api_port 8001 and hub_port 8081 must be three different ports.",
        ),
        (
            Hub,
            {"hub_port": 8000},
            "Hub: port 8000, proxy_api_port 8001 and hub_port 8000 must be three different ports.",
        ),
        (
            Box,
            {"environments": []},
            "Box.environments: one environment must be called 'python3'; these are: none.",
        ),
        (
            Box,
            {"environments": [{"name": "r", "conda": ["r-irkernel"]}]},
            "Box.environments: one environment must be called 'python3'; these are: r.",
        ),
        (
            Box,
            {"environments": [PYTHON3, PYTHON3]},
            "Box.environments: two environments are called 'python3'; every name is there once.",
        ),
        (
            Box,
            {"environments": [3]},
            "Box.environments.0 is 3: input should be a valid dictionary or instance of "
            "Environment.",
        ),
        (
            Box,
            {"users": [{"name": "ada"}, {"name": "ada"}]},
            "Box: two users are called 'ada'; every name is there once.",
        ),
        (
            Box,
            {"groups": [{"name": "lab"}, {"name": "lab"}]},
            "Box: two groups are called 'lab'; every name is there once.",
        ),
        (Box, {"packages": ["-y"]}, f"Box.packages.0 is '-y': {SYSTEM_PACKAGE}."),
        (Box, {"packages": ["a;reboot"]}, f"Box.packages.0 is 'a;reboot': {SYSTEM_PACKAGE}."),
        (Box, {"packages": ["$(id)"]}, f"Box.packages.0 is '$(id)': {SYSTEM_PACKAGE}."),
        (
            Box,
            {"ca_certificates": ["/nowhere"]},
            "Box.ca_certificates: '/nowhere' cannot be read: No such file or directory.",
        ),
        (
            Mirrors,
            {"pyhton": "https://example.org"},
            "Mirrors has no setting 'pyhton': it has apt, apt_security, python, npm, conda, cuda.",
        ),
        (Box, {"hub": {"prot": 1}}, None),
        (Box, {"hub": {3: 1}}, "Box: the name of a setting is a text."),
        (Hub, {"self": 1}, None),
        (
            Box,
            {"hub": {}, "conda": Hub()},
            "Box.conda: Input should be a valid dictionary or instance of Conda.",
        ),
    ],
)
def test_a_wrong_value_is_named_where_it_stands(
    model: type[Setting], settings: dict[str, Any], sentence: str | None
) -> None:
    known = "lock, address, port, base_url, default_url, allowed_users, allowed_groups, admins, "
    known += "admin_groups, minimum_uid, extra_config, proxy_api_port, hub_port"
    unknown = "self" if model is Hub else "prot"
    assert refusal(model, settings) == (
        sentence or f"Hub has no setting {unknown!r}: it has {known}."
    )


def test_several_wrong_values_are_a_sentence_each() -> None:
    assert refusal(Mirrors, {"python": "x", "pip": 1}).splitlines() == [
        f"Mirrors.python is 'x': {URL}.",
        "Mirrors has no setting 'pip': it has apt, apt_security, python, npm, conda, cuda.",
    ]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (Hub, {"address": "::", "port": 443, "base_url": "/a/b-c/", "default_url": "/tree"}),
        (Hub, {"allowed_users": ["ada", "Ada.L@EXAMPLE.ORG"], "admin_groups": ["domain admins"]}),
        (Hub, {"extra_config": "c.Spawner.mem_limit = '2G'"}),
        (Mirrors, {"apt": "http://[2001:db8::1]:80/debian", "python": "file:///srv/simple"}),
        (Mirrors, {"conda": "https://example.org/t/(x)$,;=&?a=b#c%20"}),
        (Conda, {"channels": ["conda-forge/label/dev", "https://example.org/x", "file:///srv/c"]}),
        (Conda, {"channels": ["defaults"], "accept_anaconda_terms": True, "source": "apt"}),
        (Environment, {"name": "r-4.4_x", "conda": ["r-base >=4.4", "c::d[build=*cpu*]"]}),
        (
            Environment,
            {"name": "3", "conda": ["a"], "pip": ["torch==2.4.0+cu121", "x @ file:///y"]},
        ),
        (User, {"name": "ada", "password_hash": "$y$j9T$salt$hash", "shell": "/bin/zsh"}),
        (Box, {"packages": ["g++", "libc6:amd64", "curl=8.14.1-2+deb13u2~x"]}),
        (Box, {"environments": [Environment(name="python3", conda=["a"])]}),
    ],
)
def test_what_is_allowed_is_taken_as_it_is(model: type[Setting], settings: dict[str, Any]) -> None:
    made = model(**settings)
    for name, value in settings.items():
        found = getattr(made, name)
        if name == "password_hash":
            found = found.get_secret_value()
        assert found == value


def test_a_url_loses_its_last_slash() -> None:
    assert Mirrors(python="https://example.org/simple/").python == "https://example.org/simple"


def test_what_was_checked_does_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Box().hub = Hub()


# --- files of the machine that deploys ---


def test_a_lock_of_the_hub_has_all_three_files(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six==1.17.0 --hash=sha256:x")
    assert refusal(Hub, {"lock": tmp_path}) == (
        f"Hub.lock is {str(tmp_path)!r}: a lock is a directory with package.json in it."
    )
    for name in ("package.json", "package-lock.json"):
        (tmp_path / name).write_text("{}")
    assert Hub(lock=tmp_path).lock_file("requirements.txt").startswith("six")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a lock has a line @EXPLICIT and package URLs below it"),
        (
            f"@EXPLICIT\nhttps://h/t/qu-x9/c/y.conda#{HASH}\n",
            f"a line of a lock is URL#HASH, and this one is not: https://h/t/***/c/y.conda#{HASH}",
        ),
        ("@EXPLICIT\n", "a lock has a line @EXPLICIT and package URLs below it"),
        (f"https://x/y.conda#{HASH}\n", "a lock has a line @EXPLICIT and package URLs below it"),
        (
            "@EXPLICIT\nhttps://x/y.conda\n",
            "a line of a lock is URL#HASH, and this one is not: https://x/y.conda",
        ),
        (
            f"@EXPLICIT\n--prefix=/ #{HASH}\n",
            f"a line of a lock is URL#HASH, and this one is not: --prefix=/ #{HASH}",
        ),
        (
            f"@EXPLICIT\nhttps://x/y.conda#{HASH}\n# pip six==1.17.0\n",
            "a line of a lock is # pip NAME==VERSION --hash=sha256:HASH, and this one is not: "
            "six==1.17.0",
        ),
        (
            f"@EXPLICIT\nhttps://x/y.conda#{HASH}\n"
            f"# pip six @ https://me:secret@x/six.whl --hash=sha256:{HASH}\n",
            "a line of a lock is # pip NAME==VERSION --hash=sha256:HASH, and this one is not: "
            f"six @ https://***@x/six.whl --hash=sha256:{HASH}",
        ),
        ("\udcff@EXPLICIT", "it cannot be read: it is not text"),
    ],
)
def test_a_lock_that_conda_could_not_verify_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "lock.txt"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(Environment, {"name": "x", "lock": path}) == (
        f"Environment.lock is {str(path)!r}: {says}."
    )


@pytest.mark.parametrize("recording", ["23-list-explicit-md5", "23b-list-explicit-sha256"])
def test_what_conda_prints_is_a_lock(tmp_path: Path, recording: str) -> None:
    text = (Path(__file__).parents[1] / f"recorded/conda/{recording}.txt").read_text()
    printed = text.partition("# ---- stdout")[2].partition("\n")[2].partition("\n# ---- stderr")[0]
    path = tmp_path / "lock.txt"
    path.write_text(printed)

    explicit = Environment(name="x", lock=path, pip=["six"]).explicit()
    assert explicit == printed[printed.index("@EXPLICIT") :]
    assert refusal(Environment, {"name": "x", "lock": path, "conda": ["a"]}) == (
        "Environment: x: say what it holds by conda or by lock, not both."
    )


LOCK = f"""\
# Made on the box of a site with mirrors.
@EXPLICIT
https://conda.anaconda.org/conda-forge/linux-64/python.conda#{HASH}
https://conda.anaconda.organic/c/noarch/six.conda#{HASH}
# pip rich==15.0.0 --hash=sha256:{HASH}
# pip mine @ https://example.org/mine.whl --hash=sha256:{HASH}
"""


def test_a_lock_is_fetched_from_the_boxs_own_mirror(tmp_path: Path) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(LOCK)
    environment = Environment(name="x", lock=path)
    assert environment.explicit() == LOCK.partition("\n")[2]
    assert environment.explicit("http://mirror:8080/conda") == (
        f"@EXPLICIT\nhttp://mirror:8080/conda/conda-forge/linux-64/python.conda#{HASH}\n"
        f"https://conda.anaconda.organic/c/noarch/six.conda#{HASH}\n"
        f"# pip rich==15.0.0 --hash=sha256:{HASH}\n"
        f"# pip mine @ https://example.org/mine.whl --hash=sha256:{HASH}\n"
    )
    assert environment.uses_python_index


def test_a_remark_in_a_lock_is_no_other_release(tmp_path: Path) -> None:
    one, other, third = (tmp_path / name for name in ("one", "other", "third"))
    one.write_text(LOCK)
    other.write_text(LOCK.replace("# Made on", "# And made again on").replace("\n", "\r\n"))
    third.write_text(LOCK.replace("rich==15.0.0", "rich==15.0.1"))
    ids = [Environment(name="x", lock=path).release_id(["c"]) for path in (one, other, third)]
    assert ids[0] == ids[1] != ids[2]


ENVIRONMENT_FILE = """\
name: somebody's own name
channels: [conda-forge, nodefaults, https://example.org/channel]
dependencies:
  - python=3.13
  - numpy >=2
  - pip
  - pip:
      - six==1.17.0
  - pip:
variables:
  OMP_NUM_THREADS: 4
  PLACE: file
"""


def test_an_environment_file_becomes_settings(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(ENVIRONMENT_FILE)
    environment = Environment(name="x", file=path, title="X", variables={"PLACE": "inventory"})

    assert environment.model_dump(exclude={"file"}) == {
        "name": "x",
        "title": "X",
        "conda": ["python=3.13", "numpy >=2", "pip"],
        "pip": ["six==1.17.0"],
        "lock": None,
        "channels": ["conda-forge", "https://example.org/channel"],
        "variables": {"OMP_NUM_THREADS": "4", "PLACE": "inventory"},
    }


def test_an_environment_file_without_channels_takes_the_boxs(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text("channels: [nodefaults]\ndependencies: [python]")
    assert Environment(name="x", file=path).channels is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b: c", "it is not YAML"),
        ("!!python/object/apply:os.system [id]", "it is not YAML"),
        ("[" * 1000, "it is not YAML"),
        ("", "it has no list of dependencies"),
        ("[python]", "it has no list of dependencies"),
        ("dependencies: python", "it has no list of dependencies"),
        ("dependencies: [a]\nplatforms: [x]", "it says platforms, which is not read"),
        ("dependencies: [a]\n1: x", "it says 1, which is not read"),
        (
            "dependencies: [a]\nchannels: conda-forge",
            "its channels are a list, and its variables NAME: VALUE pairs",
        ),
        (
            "dependencies: [a]\nvariables: [A]",
            "its channels are a list, and its variables NAME: VALUE pairs",
        ),
        ("dependencies: [3]", "a dependency is a package, or a list of packages under pip"),
        (
            "dependencies: [{npm: [a]}]",
            "a dependency is a package, or a list of packages under pip",
        ),
        ("dependencies: [a, {pip: six}]", "what stands under pip is a list of packages"),
        ("\udcff", "it cannot be read: it is not text"),
    ],
)
def test_an_environment_file_that_says_something_else_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "environment.yml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(Environment, {"name": "x", "file": path}) == (
        f"Environment: file {str(path)!r}: {says}."
    )


def test_variables_beside_an_environment_file_are_checked_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(ENVIRONMENT_FILE)
    assert refusal(Environment, {"name": "x", "file": path, "variables": ["A"]}) == (
        "Environment.variables: Input should be a valid dictionary."
    )


def test_an_environment_file_that_is_not_there_is_refused() -> None:
    assert refusal(Environment, {"name": "x", "file": "/nowhere"}) == (
        "Environment: file '/nowhere': it cannot be read: No such file or directory."
    )


@pytest.mark.parametrize(
    ("dependencies", "sentence"),
    [
        ("[--help]", f"Environment.conda.0 is '--help': {PACKAGE}."),
        ("[a, {pip: [-e .]}]", f"Environment.pip.0 is '-e .': {PACKAGE}."),
        ("[a, {pip: [3]}]", "Environment.pip.0 is 3: input should be a valid string."),
        ("[{pip: [six]}]", f"Environment: x: {HOLDS}."),
    ],
)
def test_what_an_environment_file_says_is_checked_as_settings_are(
    tmp_path: Path, dependencies: str, sentence: str
) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(f"dependencies: {dependencies}")
    assert refusal(Environment, {"name": "x", "file": path}) == sentence


def test_what_an_environment_file_says_is_not_said_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text("dependencies: [python]")
    given = {"name": "x", "file": path, "conda": ["a"], "channels": ["b"]}
    assert refusal(Environment, given) == (
        f"Environment: file {str(path)!r} says what it holds: leave out channels, conda."
    )


def test_certificates_do_not_overwrite_one_another(certificate: Path) -> None:
    other = certificate.with_suffix(".crt")
    other.write_text(certificate.read_text())
    assert Box(ca_certificates=[certificate]).ca_certificates == [certificate]
    assert refusal(Box, {"ca_certificates": [certificate, other]}) == (
        "Box.ca_certificates: two certificates are called 'site'; every name is there once."
    )


BROKEN = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a file with a PEM certificate"),
        (b"\xff\xfe", "is not a file with a PEM certificate"),
        (BROKEN.encode(), "is not a file with a PEM certificate"),
        (BROKEN.encode() * 1000, "holds more than the authorities of a site"),
    ],
)
def test_certificates_are_pem_and_a_sites_own(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.crt"
    path.write_bytes(content)
    assert (
        refusal(Box, {"ca_certificates": [path]}) == f"Box.ca_certificates: {str(path)!r} {says}."
    )


def test_what_is_written_beside_a_certificate_does_not_travel(certificate: Path) -> None:
    pem = certificate.read_text().strip()
    certificate.write_text(f"# Müller's own\n{pem}\nand\n{pem}\n")
    assert read_certificates(certificate) == f"{pem}\n{pem}"


# --- what a release is ---

BASE = {"name": "x", "conda": ["python", "numpy"], "pip": ["six", "rich"]}


def release(**changes: Any) -> str:
    return Environment(**{**BASE, **changes}).release_id(["conda-forge"])


@pytest.mark.parametrize(
    "changes",
    [
        {"conda": ["python", "numpy", "scipy"]},
        {"conda": ["python"]},
        {"conda": ["python", "numpy>2"]},
        {"pip": ["six"]},
        {"conda": ["python", "numpy", "six"], "pip": ["rich"]},
        {"channels": ["bioconda", "conda-forge"]},
    ],
)
def test_what_decides_the_content_makes_another_release(changes: dict[str, Any]) -> None:
    assert release(**changes) != release()


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "X"},
        {"variables": {"A": "1"}},
        {"name": "y"},
        {"conda": ["numpy", "python"]},
        {"pip": ["rich", "six"]},
        {"channels": ["conda-forge"]},
    ],
)
def test_what_does_not_decide_the_content_keeps_the_release(changes: dict[str, Any]) -> None:
    assert release(**changes) == release()


def test_the_order_of_channels_and_the_text_of_a_lock_decide(tmp_path: Path) -> None:
    environment = Environment(name="x", conda=["a"])
    assert environment.release_id(["a", "b"]) != environment.release_id(["b", "a"])

    path = tmp_path / "lock.txt"
    path.write_text(f"@EXPLICIT\nhttps://x/y.conda#{HASH}\n")
    before = Environment(name="x", lock=path).release_id(["a"])
    path.write_text(f"@EXPLICIT\nhttps://x/y.conda#{'1' * 64}\n")
    assert Environment(name="x", lock=path).release_id(["a"]) != before


def test_a_release_id_is_a_name_of_a_directory_and_the_same_tomorrow() -> None:
    assert re.fullmatch("[0-9a-f]{12}", release())
    # Changing this rebuilds every environment of every box: it needs a reason.
    assert release() == "6b8890050be3"


def test_a_file_and_the_same_settings_are_one_release(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text("dependencies: [numpy, python, {pip: [six, rich]}]")
    assert Environment(name="x", file=path).release_id(["conda-forge"]) == release()


# --- secrets ---

SECRET = "$6$salt$geheim"


@pytest.mark.parametrize(
    ("model", "settings", "sentence"),
    [
        (
            User,
            {"name": "ada", "password_hash": "geheim"},
            f"User.password_hash is not allowed: {CRYPT}.",
        ),
        (
            User,
            {"name": "ada", "password_hash": ""},
            f"User.password_hash is not allowed: {CRYPT}.",
        ),
        (
            User,
            {"name": "ada", "password_hash": f"{SECRET}:0"},
            f"User.password_hash is not allowed: {CRYPT}.",
        ),
        (
            User,
            {"name": "ada", "password_hash": [SECRET]},
            "User.password_hash is not allowed: input should be a valid string.",
        ),
        (
            User,
            {"name": "ada", "passwort_hash": SECRET},
            "User has no setting 'passwort_hash': it has name, groups, uid, shell, password_hash.",
        ),
        (
            Box,
            {"users": {"name": "ada", "password_hash": SECRET}},
            "Box.users: Input should be a valid list.",
        ),
        (
            Hub,
            {"extra_config": "x = 'geheim\n"},
            "Hub.extra_config is not allowed: it is not Python: unterminated string literal "
            "(detected at line 1) in line 1.",
        ),
        (
            Mirrors,
            {"python": "https://ada:geheim@example.org/simple"},
            f"Mirrors.python is 'https://***@example.org/simple': {CREDENTIALS}.",
        ),
        (
            Mirrors,
            {"python": "https://ada:geh/geheim@example.org/simple"},
            f"Mirrors.python is 'https://***@example.org/simple': {URL}.",
        ),
        (
            Environment,
            {"name": "x", "conda": ["a"], "pip": ["x @ https://ada:geheim@example.org/x.whl"]},
            f"Environment.pip.0 is 'x @ https://***@example.org/x.whl': {CREDENTIALS}.",
        ),
        (
            Conda,
            {"channels": ["https://ada:geheim@example.org/c"]},
            f"Conda.channels.0 is 'https://***@example.org/c': {CREDENTIALS}.",
        ),
    ],
)
def test_no_message_repeats_a_secret(
    model: type[Setting], settings: dict[str, Any], sentence: str
) -> None:
    assert refusal(model, settings) == sentence
    assert "geheim" not in sentence


def test_no_repr_and_no_json_has_a_secret() -> None:
    box = Box(users=[User(name="ada", password_hash=SecretStr(SECRET))])
    for shown in (repr(box), str(box), repr(box.users), json.dumps(box.to_json())):
        assert "geheim" not in shown
        assert "ada" in shown


def test_no_json_has_what_an_operator_configures() -> None:
    box = Box(hub=Hub(extra_config="c.OAuthenticator.client_secret = 'geheim'"))
    assert box.to_json()["hub"]["extra_config"] == "**********"
    assert Box().to_json()["hub"]["extra_config"] == ""


# --- garbage ---

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates()
)
GARBAGE: SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def settings_of(draw: st.DrawFn, model: type[BaseModel]) -> dict[str, Any]:
    """Garbage under the names of a model's settings, and under others."""
    names = st.sampled_from(list(model.model_fields)) | st.text(max_size=5)
    return draw(st.dictionaries(names, GARBAGE, max_size=4))


@pytest.mark.parametrize("model", SETTINGS)
@given(data=st.data())
def test_garbage_in_settings_raises_nothing_else(model: type[Setting], data: st.DataObject) -> None:
    try:
        model(**data.draw(settings_of(model)))
    except SettingsError as error:
        assert str(error).startswith((f"{model.__name__}", *(m.__name__ for m in SETTINGS)))
        assert str(error).endswith(".")


@given(text=st.text() | st.binary().map(lambda raw: raw.decode(errors="surrogateescape")))
def test_garbage_in_an_environment_file_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.yml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"^file "):
        read_environment_file(path)


@given(content=st.dictionaries(st.sampled_from(["channels", "dependencies", "variables"]), GARBAGE))
def test_an_environment_file_of_any_shape_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "shape.yml"
    path.write_text(json.dumps(content, default=str, skipkeys=True))
    try:
        Environment(name="x", file=path)
    except SettingsError as error:
        assert str(error).startswith("Environment")


@given(name=st.text())
def test_an_environments_name_stays_one_step_below_its_directory(name: str) -> None:
    try:
        environment = Environment(name=name, conda=["a"])
    except SettingsError:
        return
    path = os.path.normpath(f"/opt/conda/envs/{environment.name}")
    assert path == f"/opt/conda/envs/{name}"
    assert re.fullmatch(r"[\w.-]+", name)


# --- a whole box ---


def test_the_default_box_is_the_articles() -> None:
    box = Box()
    assert (box.hub.address, box.hub.port, box.hub.default_url) == ("0.0.0.0", 8000, "/lab")
    assert box.conda.root == "/opt/conda"
    assert [(e.name, e.label) for e in box.environments] == [
        ("python3", "Python 3.13 (default)"),
        ("anaconda3", "Anaconda3 full"),
    ]
    assert box.packages == BASE_PACKAGES
    assert {"ipykernel", "numpy", "pandas", "scikit-learn"} < set(ANACONDA_PACKAGES)
    assert box.environments[1].conda == ["python=3.13", "pip", *ANACONDA_PACKAGES]
    assert len(ANACONDA_PACKAGES) == len(set(ANACONDA_PACKAGES))


def test_the_installers_are_of_one_version_with_a_hash_each() -> None:
    assert set(MINIFORGE_INSTALLERS) == {"amd64", "arm64"}
    machines = {"amd64": "x86_64", "arm64": "aarch64"}
    for architecture, installer in MINIFORGE_INSTALLERS.items():
        found = re.fullmatch(
            r"https://github\.com/conda-forge/miniforge/releases/download/([\d.-]+)/"
            r"Miniforge3-([\d.-]+)-Linux-(\w+)\.sh",
            installer.url,
        )
        assert found and found[1] == found[2] and found[3] == machines[architecture]
    assert len({installer.sha256 for installer in MINIFORGE_INSTALLERS.values()}) == 2


def test_a_title_that_is_not_given_is_the_name() -> None:
    assert Environment(name="x", conda=["a"]).label == "x"


def test_a_box_at_a_host_is_an_inventory_entry() -> None:
    box = Box()
    host, data = box.at("hub.example.org", ssh_user="ops", ssh_port=2222)
    assert host == "hub.example.org"
    assert data["box"] is box
    assert (data["ssh_user"], data["ssh_port"]) == ("ops", 2222)
    assert isinstance(data["ssh_paramiko_connect_kwargs"]["transport_factory"], NoDelay)
    assert "_sudo" not in data


def test_root_goes_without_sudo_unless_it_is_said() -> None:
    assert Box().at("x", ssh_user="root")[1]["_sudo"] is False
    assert Box().at("x", ssh_user="root", _sudo=True)[1]["_sudo"] is True


def test_this_machine_is_not_reached_over_ssh() -> None:
    _, data = Box().at("@local")
    assert "ssh_paramiko_connect_kwargs" not in data
    # pyinfra is at home here, and in whatever directory it was started.
    assert Path(data["_temp_dir"]).is_absolute()


@pytest.mark.parametrize("inventory", ["box.py", "local.py"])
def test_the_inventories_that_come_with_the_project_load(inventory: str) -> None:
    [(_, data)] = runpy.run_path(str(REPOSITORY / "inventories" / inventory))["boxes"]
    assert isinstance(data["box"], Box)


def debug_inventory(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What the real pyinfra makes of an inventory."""
    path.write_text(text)
    return subprocess.run(
        [PYINFRA, str(path), "debug-inventory", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_an_inventory_of_three_lines_is_the_articles_box(tmp_path: Path) -> None:
    shown = debug_inventory(
        tmp_path / "inventory.py",
        'from jupyterbox import Box\n\nboxes = [Box().at("hub.example.org")]\n',
    )
    [host] = json.loads(shown.stdout)
    assert host["name"] == "hub.example.org"
    assert host["data"]["box"] == Box().to_json()


def test_a_wrong_inventory_is_one_sentence_and_nothing_connects(tmp_path: Path) -> None:
    shown = debug_inventory(
        tmp_path / "inventory.py",
        "from jupyterbox import Box, Mirrors\n"
        'boxes = [Box(mirrors=Mirrors(pip="x")).at("hub.example.org")]\n',
    )
    assert shown.returncode == 1
    assert shown.stderr.rstrip().endswith(
        "Mirrors has no setting 'pip': it has apt, apt_security, python, npm, conda, cuda."
    )
    assert "Traceback" not in shown.stderr
    assert "Connecting" not in shown.stderr
