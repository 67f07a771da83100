"""What is mounted on the box, told from the kernel's table: asking a mount itself might hang."""

import os
import re

MOUNTINFO = "/proc/self/mountinfo"


def mounts(path=MOUNTINFO):
    """What is mounted, in order; see proc_pid_mountinfo(5)."""
    found = []
    # A name may have any other kind of line break in it.
    with open(path, newline="\n", errors="surrogateescape") as lines:
        for line in lines:
            before, _, after = line.rstrip("\n").partition(" - ")
            number, root, mount, flags = before.split(" ")[2:6]
            kind, device, options = after.split(" ")
            found.append(
                {
                    "mount": unescaped(mount),
                    "device": unescaped(device),
                    "type": kind,
                    "read_only": "ro" in [*flags.split(","), *options.split(",")],
                    "root": root,
                    "number": number,
                }
            )
    return found


def mounted_below(directories, path=MOUNTINFO):
    """Where something is mounted in some directories, which may be mounted themselves."""
    tops = tuple(f"{os.path.realpath(directory).rstrip('/')}/" for directory in directories)
    return sorted({mount["mount"] for mount in mounts(path) if mount["mount"].startswith(tops)})


def unescaped(text):
    """A name as it is: a blank is written as `\\040` there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
