"""The file systems of a box, each once, and what is free on them.

One that lies on a server that is gone is named, and nobody waits for it.
"""

import os
import re
import shlex

from homes import look_into
from mountinfo import MOUNTINFO, mounts
from reading import why

NETWORK = re.compile(
    r"nfs4?|cifs|smb3|ceph|lustre|beegfs|gpfs|9p|virtiofs|fuse\.(?:ceph|glusterfs|juicefs)"
)
# Always full: made once and only read, such as the images of snaps.
IMAGE = re.compile(r"squashfs|erofs|iso9660|udf|cramfs")
# Where the system, the hub or people write; data may well fill a disk of its own.
MATTER = re.compile(
    r"/|/boot|/home|/opt|/opt/conda|/opt/jupyterhub|/tmp|/var|/var/lib|/var/lib/jupyterhub|/var/log"
)
GB = 1 << 10  # of MB
UNKNOWN = dict.fromkeys(("size_mb", "free_mb", "inodes", "inodes_free"))


def disks(path=MOUNTINFO):
    """The file systems with what is free, why some did not say, and what is wrong with them."""
    systems = file_systems(mounts(path))
    me = (os.geteuid(), os.getegid())
    answers, skipped = look_into([(each["mount"], *me, each["mount"]) for each in systems], usage)
    found, problems = [], []
    for each in systems:
        mount = each["mount"]
        free, reason, wrong = answers.get(mount) or (UNKNOWN, skipped[mount], True)
        if reason:
            skipped[mount] = reason
        disk = {key: each[key] for key in ("mount", "device", "type", "read_only")} | free
        found.append(disk)
        if wrong:
            problems.append(silent(disk, reason))
        elif not reason and any(map(MATTER.fullmatch, each["places"])):
            problems += used_up(disk)
    return found, skipped, problems


def is_disk(mount):
    """Whether files are kept there: on a disk of the box, or on a server."""
    kind = mount["type"]
    if mount["mount"] == "/" or NETWORK.fullmatch(kind):
        return True
    local = mount["device"].startswith("/dev/") or kind == "zfs"
    return local and not kind.startswith("fuse.") and not IMAGE.fullmatch(kind)


def file_systems(mounted):
    """Those that are disks, each once, with all the places where it is mounted."""
    # Of several at one place, the last one is seen.
    visible = {mount["mount"]: mount for mount in mounted}
    groups = {}
    for mount in visible.values():
        if is_disk(mount):
            groups.setdefault((mount["number"], mount["device"]), []).append(mount)
    found = []
    for group in groups.values():
        # A part of it that is mounted once more is seen as part of the whole.
        whole = min(group, key=lambda mount: (mount["root"] != "/", len(mount["mount"])))
        found.append({**whole, "places": [mount["mount"] for mount in group]})
    return sorted(found, key=lambda each: each["mount"])


def usage(mount):
    """What is free there, in MB and inodes; else why nobody says, and whether that is wrong."""
    try:
        said = os.statvfs(mount)
    except OSError as error:
        return UNKNOWN, f"{mount} {why(error)}", not isinstance(error, PermissionError)
    free = {
        "size_mb": said.f_blocks * said.f_frsize >> 20,
        # What only root may fill is not free.
        "free_mb": said.f_bavail * said.f_frsize >> 20,
        # Some file systems make inodes as they are needed.
        "inodes": said.f_files or None,
        "inodes_free": said.f_favail if said.f_files else None,
    }
    return free, None, False


def silent(disk, reason):
    """The problem of one that does not answer."""
    problem = f"{reason[0].upper()}{reason[1:]} ({disk['type']} from {disk['device']})."
    cure = "Bring back what it is mounted from"
    if not MATTER.fullmatch(disk["mount"]):
        cure += f", or let go of it: `sudo umount --lazy {shlex.quote(disk['mount'])}`"
    return {"problem": problem, "cure": f"{cure}."}


def used_up(disk):
    """The problems of one that the box needs and that takes no more."""
    mount, quoted = disk["mount"], shlex.quote(disk["mount"])
    if disk["read_only"] and mount != "/boot":
        yield {
            "problem": f"{mount} is mounted read-only.",
            "cure": "`sudo dmesg` may say why: that is what becomes of a disk that fails.",
        }
    elif is_nearly_full(disk):
        yield {
            "problem": f"{mount} is nearly full: {disk['free_mb']} MB of {disk['size_mb']} MB "
            "are free.",
            "cure": f"`sudo du -xm --max-depth=3 {quoted} | sort -n | tail` shows what is large.",
        }
    elif lacks_inodes(disk):
        yield {
            "problem": f"{mount} can take only {disk['inodes_free']} more files: the rest of its "
            f"{disk['inodes']} inodes are used.",
            "cure": f"`sudo du -x --inodes --max-depth=3 {quoted} | sort -n | tail` shows where "
            "there are many.",
        }


def is_nearly_full(disk):
    """Whether less than 5 % or 1 GB is free, as far as that is little for a disk of its size."""
    size = disk["size_mb"]
    return disk["free_mb"] < max(min(size * 0.05, 10 * GB), min(size * 0.1, 1 * GB))


def lacks_inodes(disk):
    """Whether less than 5 % of the inodes are free, and no more than two environments take."""
    total = disk["inodes"]
    return total is not None and disk["inodes_free"] < min(total * 0.05, 100_000)
