"""Print the packages of one conda environment, as `conda list --json` does.

Arguments: prefix (the environment's).
"""

import json
import os
import re
import sys
from pathlib import Path

from answering import answer
from conda_history import masked, requested, spec_name
from homes import look_into
from prefix import Prefix
from reading import Unreadable, read_text

PYPI = "https://conda.anaconda.org/pypi"
ALIASES = ("https://conda.anaconda.org", "https://repo.anaconda.com")


def row(record, asked, alias):
    """One package."""
    by_pip = record["build"] == "pypi_0" and "channel" not in record
    subdir = "pypi" if by_pip else str(record.get("subdir"))
    base = PYPI if by_pip else base_url(record)
    number = record.get("build_number")
    return {
        "name": record["name"],
        "version": record["version"],
        "build_string": record["build"],
        "build_number": number if isinstance(number, int) else 0,
        "platform": subdir,
        "channel": "pypi" if by_pip else channel_name(base, alias),
        "base_url": base,
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "requested": record["name"] in asked,
    }


def base_url(record):
    """The address of the channel that a package came from."""
    url = masked(str(record.get("url") or record.get("channel") or ""))
    return url.rsplit("/", 2)[0] if record.get("url") else url


def channel_name(url, alias):
    """A channel's short name: what follows the place where channels are looked for."""
    for known in (alias, *ALIASES):
        if known and url.startswith(f"{known.rstrip('/')}/"):
            return url[len(known.rstrip("/")) + 1 :]
    rest = url.split("://", 1)[-1]
    if url.startswith("file://"):
        return rest.rsplit("/", 1)[-1]
    return rest.split("/", 1)[-1] if "/" in rest else ""


def channel_alias(root):
    """Where the system condarc says that channels are looked for."""
    try:
        text = read_text(Path(root, ".condarc"))
    except Unreadable:
        return ""
    match = re.search(r"^channel_alias:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE)
    return match[1] if match else ""


def packages(root, prefix):
    """The packages, sorted by name, and what is wrong with their records; None for no prefix."""
    if not os.path.isdir(prefix):
        return None
    if os.geteuid() == 0:
        # As its owner: what is linked there must not lead to where only root can look.
        os.setegid(os.stat(prefix).st_gid)
        os.seteuid(os.stat(prefix).st_uid)
    found = Prefix(prefix)
    history, records = found.history(), found.packages()
    asked = {spec_name(spec) for spec in requested(history or "", found.stems)}
    alias = channel_alias(root)
    return {
        "prefix": prefix,
        "path": os.path.realpath(prefix),
        "packages": sorted((row(r, asked, alias) for r in records), key=lambda p: p["name"]),
        "problems": found.problems,
    }


def state(root, prefix):
    """The same, looked at with a bound: a prefix may lie on a dead mount."""
    place = (prefix, os.geteuid(), os.getegid(), prefix)
    answers, skipped = look_into([place], lambda path: packages(root, path))
    if skipped:
        sys.exit(f"{skipped[prefix]}.")
    if answers[prefix] is not None:
        return answers[prefix]
    if os.path.isdir(f"{root}/conda-meta"):
        sys.exit(f"{prefix} is no conda environment: it is not there.")
    # A box without conda has nothing to mistake.
    return {"prefix": prefix, "path": prefix, "packages": [], "problems": []}


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
