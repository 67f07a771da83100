"""Put the link to a release in the place of an environment that was made by hand, and keep that.

Arguments: root (conda's), name (the environment's), release. Links and directories trade places at
one stroke. A prefix works only where it was made: whoever runs from it would go on in the release,
so it stays where it is while anybody does.
"""

import json
import os
import sys

from exchange import exchange
from old_releases import in_use


def set_aside(root, name, release):
    """Do it; why it cannot be done, None if it is."""
    link, kept = f"{root}/envs/{name}", f"{root}/by-hand"
    if in_use([link]):
        return f"processes run from {link}, which was made by hand: it was left as it is."
    os.makedirs(kept, exist_ok=True)
    kept = free(f"{kept}/{name}")
    os.symlink(f"../releases/{name}/{release}", kept)
    exchange(link, kept)
    return None


def free(path):
    """A path at which there is nothing: what a run that died has left there is a link."""
    number = 1
    while os.path.lexists(found := path if number == 1 else f"{path}-{number}"):
        if os.path.islink(found):
            os.unlink(found)
            break
        number += 1
    return found


if __name__ == "__main__":
    os.umask(0o022)
    try:
        problem = set_aside(**json.loads(sys.argv[1]))
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}."
    if problem:
        sys.exit(problem)
