"""The bare roots that demo boxes start from: built once, cached, and copied for each box."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jupyterbox.demo import DemoError
from jupyterbox.demo.host import apt_repositories
from jupyterbox.demo.steps import Say

MIRROR_VARIABLE = "JUPYTERBOX_DEMO_MIRROR"

# What a server has when its installer is done, and not a package more: what the deploy needs
# besides, it has to install itself.
PACKAGES = (
    "bash",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
)
RECIPE = Path(__file__).with_name("bare.sh")


@dataclass(frozen=True)
class Archives:
    """Where a distribution's packages come from: URIs, without a slash at the end."""

    main: str
    security: str


@dataclass(frozen=True)
class Distribution:
    """What differs between Debian and Ubuntu when a root is built."""

    origin: str
    releases: tuple[str, ...]
    archives: Archives
    components: str
    keyring: str

    def suites(self, release: str, archives: Archives) -> list[tuple[str, str]]:
        """The (URI, suite) pairs that a server of this release installs from."""
        return [
            (archives.main, release),
            (archives.main, f"{release}-updates"),
            (archives.security, f"{release}-security"),
        ]


DEBIAN = Distribution(
    origin="Debian",
    releases=("bookworm", "trixie"),
    archives=Archives("http://deb.debian.org/debian", "http://deb.debian.org/debian-security"),
    components="main non-free-firmware",
    keyring="/usr/share/keyrings/debian-archive-keyring.gpg",
)
UBUNTU = Distribution(
    origin="Ubuntu",
    releases=("jammy", "noble", "resolute"),
    archives=Archives("http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"),
    components="main restricted universe multiverse",
    keyring="/usr/share/keyrings/ubuntu-archive-keyring.gpg",
)
UBUNTU_PORTS = Archives(
    "http://ports.ubuntu.com/ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports"
)
DISTRIBUTIONS = {release: of for of in (DEBIAN, UBUNTU) for release in of.releases}
RELEASES = tuple(DISTRIBUTIONS)

# Debian 12 has no package with Ubuntu's keys, so the package of Ubuntu 24.04 is read instead: in
# every Ubuntu mirror's pool for as long as that release lives.
UBUNTU_KEYRING_DEB = "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
UBUNTU_KEYRING_SHA256 = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in a root."""

    release: str
    architecture: str
    archives: Archives
    packages: tuple[str, ...]
    script: str

    @property
    def key(self) -> str:
        """The name of the cached root: the release, and a hash of all that makes it."""
        declared = [
            self.release,
            self.architecture,
            self.archives.main,
            self.archives.security,
            sorted(self.packages),
            self.script,
        ]
        digest = hashlib.sha256(json.dumps(declared).encode()).hexdigest()
        return f"{self.release}-{digest[:16]}"


def bare_root(release: str, say: Say) -> Path:
    """The cached root of a release, built first where there is none yet.

    Args:
        release: one of `RELEASES`.
        say: is told each step of a build; a cached root is silent.

    Raises:
        DemoError: the release is unknown, or mmdebstrap failed.
    """
    recipe = recipe_for(release)
    root = _roots() / recipe.key
    if root.is_dir():
        return root
    with _building(say) as lock:
        # Whoever held the lock before us may have built this very root.
        if not root.is_dir():
            _build(recipe, root, lock, say)
    return root


def copy_root(root: Path, target: Path) -> None:
    """Make a fresh box's file system out of a cached root.

    A copied tree beats an unpacked archive (1.0 s to 1.2 s for 260 MB), and costs nothing at all
    on file systems that share blocks.
    """
    subprocess.run(
        ["cp", "--archive", "--reflink=auto", "--no-target-directory", root, target], check=True
    )


def remove_tree(tree: Path) -> None:
    """Delete a root as far as it goes, never what is mounted in it; absent is fine."""
    subprocess.run(["rm", "--recursive", "--force", "--one-file-system", tree], check=True)


def recipe_for(release: str) -> Recipe:
    """What the root of a release is made of on this host.

    Raises:
        DemoError: the release is unknown.
    """
    if release not in DISTRIBUTIONS:
        raise DemoError(f"There is no demo box of {release!r}: choose from {', '.join(RELEASES)}.")
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()
    archives = find_archives(DISTRIBUTIONS[release], architecture)
    https = any(uri.startswith("https:") for uri in (archives.main, archives.security))
    return Recipe(
        release=release,
        architecture=architecture,
        archives=archives,
        # A server that is installed from an https mirror has the certificates to reach it.
        packages=(*PACKAGES, "ca-certificates") if https else PACKAGES,
        script=RECIPE.read_text(),
    )


def find_archives(distribution: Distribution, architecture: str) -> Archives:
    """The archives to install from.

    `JUPYTERBOX_DEMO_MIRROR` names a mirror, such as `http://mirror.example/debian`: Debian's
    security archive is then expected beside it, in `debian-security`. Else a host of the same
    distribution is asked for its own, and the public ones are what remains.
    """
    if mirror := os.environ.get(MIRROR_VARIABLE, "").rstrip("/"):
        return Archives(mirror, f"{mirror}-security" if distribution is DEBIAN else mirror)
    public = distribution.archives
    if distribution is UBUNTU and architecture != "amd64":
        public = UBUNTU_PORTS
    of_host = apt_repositories(distribution.origin)
    security = next((uri for suite, uri in of_host.items() if suite.endswith("-security")), None)
    main = next((uri for suite, uri in of_host.items() if "-" not in suite), None)
    return Archives(main or public.main, security or public.security)


def cache_directory() -> Path:
    """Where what took long to build is kept; safe to delete while no box is being created."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "jupyterbox"


def _roots() -> Path:
    return cache_directory() / "roots"


@contextmanager
def _building(say: Say) -> Iterator[int]:
    """Let one build run at a time; yields the descriptor that holds the lock."""
    roots = _roots()
    # Roots hold setuid programs, and what we leave in them: nobody else gets in.
    roots.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(roots / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _build(recipe: Recipe, root: Path, lock: int, say: Say) -> None:
    """Build a root beside its place, and move it there when it is complete."""
    distribution = DISTRIBUTIONS[recipe.release]
    keyring = _keyring(distribution, recipe.archives)
    partial = root.with_name(f"{root.name}.partial")
    remove_tree(partial)
    say(f"building a bare {recipe.release} from {recipe.archives.main} (once, then cached)")
    try:
        partial.mkdir(mode=0o755)
        _mmdebstrap(recipe, keyring, partial, lock, say)
        _write_sources(recipe, partial)
        partial.rename(root)
    finally:
        remove_tree(partial)
    say(f"{recipe.release} is built")


def _mmdebstrap(recipe: Recipe, keyring: Path, target: Path, lock: int, say: Say) -> None:
    """Run mmdebstrap, passing on its steps and its errors as it prints them."""
    distribution = DISTRIBUTIONS[recipe.release]
    command = [
        # What it mounts in the tree is seen by nobody else, and gone with it, however it ends.
        *("unshare", "--mount", "--"),
        "mmdebstrap",
        "--mode=root",
        "--variant=important",
        "--format=directory",
        f"--include={','.join(recipe.packages)}",
        f"--keyring={keyring}",
        f"--customize-hook={RECIPE}",
        recipe.release,
        str(target),
        *(
            f"deb {uri} {suite} {distribution.components}"
            for uri, suite in distribution.suites(recipe.release, recipe.archives)
        ),
    ]
    last = ""
    # The lock goes along: a build that outlives us still keeps others from deleting its tree.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        pass_fds=[lock],
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(("I: ", "E: ")):
                last = line[3:].strip()
                say(last)
    if process.returncode:
        raise DemoError(f"mmdebstrap could not build a bare {recipe.release}: {last}")


def _write_sources(recipe: Recipe, root: Path) -> None:
    """Give the box the apt sources that an installer would have left."""
    distribution = DISTRIBUTIONS[recipe.release]
    stanzas = [
        f"Types: deb\nURIs: {uri}\nSuites: {suite}\n"
        f"Components: {distribution.components}\nSigned-By: {distribution.keyring}\n"
        for uri, suite in distribution.suites(recipe.release, recipe.archives)
    ]
    apt = root / "etc/apt"
    (apt / "sources.list").unlink(missing_ok=True)
    shutil.rmtree(apt / "sources.list.d", ignore_errors=True)
    (apt / "sources.list.d").mkdir()
    sources = apt / "sources.list.d" / f"{distribution.origin.lower()}.sources"
    sources.write_text("\n".join(stanzas))


def _keyring(distribution: Distribution, archives: Archives) -> Path:
    """The file with the keys that sign a distribution's archives."""
    of_host = Path(distribution.keyring)
    if of_host.exists() or distribution is not UBUNTU:
        return of_host
    cached = _roots() / of_host.name
    if not cached.exists():
        _fetch_ubuntu_keyring(f"{archives.main}/{UBUNTU_KEYRING_DEB}", cached)
    return cached


def _fetch_ubuntu_keyring(url: str, target: Path) -> None:
    """Take the keyring out of Ubuntu's package of it, if that is the package we know."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            package = response.read()
    except OSError as error:
        raise DemoError(f"Ubuntu's archive keys could not be fetched from {url}: {error}") from None
    if hashlib.sha256(package).hexdigest() != UBUNTU_KEYRING_SHA256:
        raise DemoError(f"{url} is not the package of Ubuntu's archive keys that it should be.")
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        deb = Path(temporary, "keyring.deb")
        deb.write_bytes(package)
        subprocess.run(["dpkg-deb", "--extract", deb, temporary], check=True)
        Path(temporary + UBUNTU.keyring).rename(target)
