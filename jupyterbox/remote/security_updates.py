"""Which security updates wait: told from apt's package lists and dpkg's, which are only read.

`apt-get --simulate` says the same after one or two seconds, and writes its caches as it does.
"""

import glob
import os
import re
import subprocess
import time

from clock import iso
from dpkg import fields, rank
from reading import Unreadable, entries, read, read_text, why

LISTS = "/var/lib/apt/lists"
CONFIGURATION = "/etc/apt/apt.conf.d"
LAST_RUN = "/var/lib/apt/periodic/upgrade-stamp"
HELPER = "/usr/lib/apt/apt-helper"
TIMEOUT = 5  # seconds, for a list that has to be unpacked
LIMIT = 256 << 20  # bytes; the longest list of Ubuntu 24.04's has 11 MB
DAY = 24 * 3600  # seconds
OLD = 14 * DAY

RELEASE = re.compile(r"(.+_)(?:In)?Release")
PACKAGES = re.compile(r"_binary-[^_]+_Packages(?:\.\w+)?$")
PACKED = re.compile(r"_Packages\.\w+$")
ORIGIN = re.compile(r"^(Label|Suite|Codename): (.+)", re.MULTILINE)
UNATTENDED = re.compile(r'^[^/#\n]*\bUnattended-Upgrade\s+"([^"]*)"', re.MULTILINE)


def updates(packages):
    """The answer, why nobody can tell if so, and what is wrong.

    Args:
        packages: dpkg's; None where nobody can tell.
    """
    ran = unattended()
    found = {
        "security": None,
        "archives": [],
        "asked_at": None,
        "unattended_at": None if ran is None else iso(ran),
    }
    if packages is None:
        return found, "dpkg's packages cannot be read", []
    try:
        security, archives, asked = waiting(packages)
    except Unreadable as reason:
        return found, str(reason), []
    found |= {"security": security, "archives": archives, "asked_at": iso(asked)}
    return found, None, [*problems(security, asked, ran, time.time())]


def waiting(installed, lists=LISTS):
    """The security updates that wait, the archives that were asked, and when, in seconds.

    Args:
        installed: dpkg's packages.
        lists: apt's directory.

    Raises:
        Unreadable: nobody can tell.
    """
    newest, archives, asked = {}, set(), []
    for archive, release, files in security_archives(lists):
        if not files:
            raise Unreadable(f"apt has no package list of {archive}")
        for file in files:
            collect(archive, content(file), installed, newest)
        archives.add(archive)
        asked.append(answered(release))
    if not archives:
        raise Unreadable("apt has no package list of a security archive")
    found = [
        {
            "package": name if architecture == installed.native else f"{name}:{architecture}",
            "installed": installed.versions[name, architecture],
            "available": newest[name, architecture][0],
            "archive": newest[name, architecture][1],
            "held": (name, architecture) in installed.held,
        }
        for name, architecture in sorted(newest)
    ]
    return found, sorted(archives), min(asked)


def security_archives(lists):
    """The archives of security updates that apt knows: name, Release file, package lists."""
    names = entries(lists)
    for name in names:
        match, path = RELEASE.fullmatch(name), os.path.join(lists, name)
        archive = match and security_archive(content(path).decode(errors="replace"))
        if archive:
            files = [file for file in names if file.startswith(match[1]) and PACKAGES.search(file)]
            yield archive, path, [os.path.join(lists, file) for file in files]


def security_archive(release):
    """The name of an archive that has security updates: `trixie-security`; None for others.

    Debian's says so by its label, Ubuntu's by its suite, as do those of its ESM.
    """
    said = dict(reversed(ORIGIN.findall(release[:4096])))
    names = [said.get(key, "") for key in ("Codename", "Suite", "Label")]
    found = next((name for name in names if name.endswith("-security")), None)
    if found is None and said.get("Label") == "Debian-Security":
        found = next(filter(None, names))
    return found


def content(path):
    """A file of apt's as bytes.

    Raises:
        Unreadable: it is not for us, or apt cannot unpack it in time.
    """
    try:
        if not PACKED.search(path):
            return read(path, LIMIT)
        return subprocess.run(
            [HELPER, "cat-file", path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        raise Unreadable(f"{path} cannot be unpacked") from None
    except Unreadable as reason:
        raise Unreadable(f"{path} {reason}") from None


def answered(release):
    """When an archive last answered, in seconds: apt then puts its file there, changed or not.

    Raises:
        Unreadable: it is not there any more.
    """
    try:
        return os.stat(release).st_ctime
    except OSError as error:
        raise Unreadable(f"{release} {why(error)}") from None


def collect(archive, packages, installed, newest):
    """Put into `newest` what a list has that is newer than what is installed."""
    names = {name.encode() for name, _ in installed.versions}
    for stanza in packages.split(b"\n\n"):
        # "Package: " comes first, and few of them are installed.
        if stanza[9 : stanza.find(b"\n")] not in names:
            continue
        offered = fields(stanza.decode(errors="replace"))
        key, version = installed.key(offered), offered["Version"]
        if key not in installed.versions:
            continue
        known, _ = newest.get(key, (installed.versions[key], None))
        if rank(version) > rank(known):
            newest[key] = version, archive


def unattended(configuration=CONFIGURATION, last_run=LAST_RUN):
    """When unattended-upgrades last installed updates, in seconds; None where it is not set to."""
    said = ["0"]
    for path in sorted(glob.glob(f"{glob.escape(configuration)}/*")):
        try:
            said += UNATTENDED.findall(read_text(path))
        except Unreadable:
            continue
    try:
        return os.stat(last_run).st_mtime if said[-1] not in ("", "0") else None
    except OSError:
        return None


def problems(found, asked, ran, now):
    """What is wrong.

    Args:
        found: the updates that wait.
        asked: when the archives were asked.
        ran: when unattended-upgrades last did its work; None where it does none.
        now: the time.
    """
    names = [each["package"] for each in found if not each["held"]]
    # It installs them within a day, unless it has passed them over.
    in_hand = ran is not None and now - ran < 2 * DAY and ran < asked
    if names and not in_hand:
        yield {
            "problem": f"Security updates wait: {listed(names)}.",
            "cure": "`sudo apt update && sudo apt full-upgrade` installs them; "
            "`apt-cache policy NAME` tells why one is left out.",
        }
    if now - asked > OLD:
        yield {
            "problem": f"The last answer of a security archive is {(now - asked) / DAY:.0f} days "
            "old: newer updates are not known.",
            "cure": "`sudo apt update` asks again; the package unattended-upgrades does so daily.",
        }


def listed(names, most=5):
    """Names for a sentence; of many, how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
