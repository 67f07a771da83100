"""Print the versions of the driver that NVIDIA's repository has, by its own index.

Arguments: url (of the repository), ca (PEM text of further authorities to trust). Nothing is
printed where the index cannot be had: whoever installs from there is told why.
"""

import gzip
import http.client
import json
import re
import sys
import urllib.request
import zlib

from trust import trusting

TIMEOUT = 20  # seconds
DRIVER = re.compile(r"Package: (nvidia-driver-cuda|libnvidia-compute(-[0-9]+)?)")


def versions(lines):
    """The versions of the driver's libraries in an index of packages."""
    found, ours = set(), False
    for line in lines:
        if line.startswith("Package: "):
            ours = DRIVER.fullmatch(line.rstrip()) is not None
        elif ours and line.startswith("Version: "):
            found.add(line.split()[1])
    return sorted(found)


def ask(url, ca):
    """The versions that a repository has; `[]` where nobody can tell."""
    try:
        with (
            urllib.request.urlopen(
                f"{url}/Packages.gz", timeout=TIMEOUT, context=trusting(ca)
            ) as answer,
            gzip.open(answer, "rt", errors="replace") as index,
        ):
            return versions(index)
    except (OSError, EOFError, zlib.error, http.client.HTTPException):
        return []


if __name__ == "__main__":
    print(json.dumps(ask(**json.loads(sys.argv[1]))))
