"""Print whether an environment that was made by hand holds what is declared; nothing is solved.

Arguments: prefix, conda and pip (specs), stems (of a lock's packages: these and no others).
"""

import glob
import json
import re
import sys

from answering import answer
from belongings import lives_on
from matching import conda_meets, pip_meets
from prefix import Prefix


def lacks(path, conda, pip, stems):
    """What an environment does not hold of what is declared, a spec each."""
    prefix = Prefix(path)
    python = {
        re.sub(r"[-_.]+", "-", name): version for name, version in prefix.python_packages().values()
    }
    found = [spec for spec in conda if not conda_meets(spec, prefix.stems)]
    found += [spec for spec in pip if not pip_meets(spec, python)]
    if not glob.glob(f"{glob.escape(str(path))}/share/jupyter/kernels/*/kernel.json"):
        found.append("a kernel")
    if stems:
        found += sorted({*stems} - prefix.files.keys())
        found += [f"no {stem}" for stem in sorted(prefix.files.keys() - {*stems})]
    return found


def used_by(path):
    """The processes that run from it."""
    return [f"{one['name']} (process {one['pid']}, {one['user']})" for one in lives_on([path])]


def state(prefix, **declared):
    """What it lacks, and who runs from it."""
    return {"lacks": lacks(prefix, **declared), "used_by": used_by(prefix)}


if __name__ == "__main__":
    answer(state(**json.loads(sys.argv[1])))
