"""Print what a backup needs to know of the box as JSON.

Arguments: database, directory (on the box, to keep the archive in; null for none).
"""

import json
import os
import shutil
import sys

from answering import answer, need_root

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    need_root("The hub's state")
    directory = arguments["directory"]
    answer(
        {
            "database": os.path.isfile(arguments["database"]),
            "directory": directory is None or os.path.isdir(directory),
            "gpg": shutil.which("gpg") is not None,
        }
    )
