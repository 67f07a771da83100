"""Print what the current releases of environments were built of, from their records.

Arguments: root, environments.
"""

import json
import os
import sys

from answering import answer
from reading import Unreadable, read_json

LIMIT = 64 << 20  # bytes; thousands of packages are a few MB


def record(root, name):
    """The record of an environment's current release; None where there is no complete one."""
    prefix = os.path.realpath(os.path.join(root, "envs", name))
    if os.path.dirname(prefix) != os.path.join(root, "releases", name):
        return None
    try:
        found = read_json(os.path.join(prefix, "release.json"), LIMIT)
        conda = [
            {key: one.get(key) for key in ("url", "md5", "sha256")} for one in found["packages"]
        ]
    except (Unreadable, KeyError, TypeError, AttributeError):
        return None
    return {
        "release": os.path.basename(prefix),
        "mirror": found.get("mirror"),
        "conda": conda,
        "pip": found.get("pip"),
    }


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    # The root may be a link to a larger disk.
    root = os.path.realpath(arguments["root"])
    answer({name: record(root, name) for name in arguments["environments"]})
