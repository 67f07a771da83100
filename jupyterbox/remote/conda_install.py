"""Print what there is of conda itself, with the text of the files that configure it.

Arguments: root.
"""

import glob
import json
import os
import re
import sys
from pathlib import Path

from answering import answer, need_root
from conda_history import masked
from prefix import Prefix
from reading import Unreadable, read_text

OWNED_BY_DPKG = "/var/lib/dpkg/info/conda.list"
INSTALLED_BY_CONSTRUCTOR = "conda-meta/initial-state.explicit.txt"


def condarcs(root):
    """The files that configure conda for every account, the weakest first (conda's SEARCH_PATH)."""
    for place in ("/etc/conda", "/var/lib/conda", str(root)):
        candidates = [f"{place}/.condarc", f"{place}/condarc"]
        candidates += sorted(glob.glob(f"{glob.escape(place)}/condarc.d/*.y*ml"))
        yield from (path for path in candidates if os.path.lexists(path))


def source(root):
    """Who installed it: apt, an installer made by constructor, or null for nobody who says so."""
    try:
        owned = read_text(OWNED_BY_DPKG, 64 << 20).splitlines()
    except Unreadable:
        owned = []
    if f"{root}/bin/conda" in owned:
        return "apt"
    return "installer" if (root / INSTALLED_BY_CONSTRUCTOR).exists() else None


def default_solver(root):
    """The solver that this conda takes when it is not told, from its own source."""
    for path in glob.glob(
        f"{glob.escape(str(root))}/lib/python3*/site-packages/conda/base/constants.py"
    ):
        try:
            match = re.search(r'^DEFAULT_SOLVER\b[^=]*=\s*"(\w+)"', read_text(path), re.MULTILINE)
        except Unreadable:
            continue
        if match:
            return match[1]
    return None


def state(root):
    """Conda, as far as it is there."""
    if os.path.isdir(root) and not os.access(root, os.R_OK | os.X_OK):
        need_root(f"{root}")
    texts, unreadable = {}, {}
    for path in condarcs(root):
        try:
            texts[path] = masked(read_text(path))
        except Unreadable as reason:
            unreadable[path] = str(reason)
    installed = (root / "bin/conda").exists()
    return {
        "root": str(root) if installed else None,
        "version": Prefix(root).stems.get("conda", (None, None))[0] if installed else None,
        "source": source(root) if installed else None,
        "default_solver": default_solver(root) if installed else None,
        # The marker stands while an installer runs.
        "interrupted": (root / ".jupyterbox-installing").exists(),
        "condarcs": texts if installed else {},
        "unreadable": unreadable,
    }


if __name__ == "__main__":
    answer(state(Path(os.path.realpath(json.loads(sys.argv[1])["root"]))))
