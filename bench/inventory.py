"""The boxes of the benchmarks, as `bench.boxes` has written them down: a pyinfra inventory."""

import json
import os
from pathlib import Path

from jupyterbox import Box

_declared = json.loads(Path(os.environ["JUPYTERBOX_BENCH"]).read_text())

boxes = [Box(**one["settings"]).at(one["name"], **one["connection"]) for one in _declared]
