"""The installer's second half: link the base environment from the packages it brought.

Runs with the interpreter of the extracted python package, before there is a base environment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .context import Context
from .fetch import RECORD_FILE
from .records import Record, in_order, installed, is_environment
from .solver import difference
from .transaction import Transaction


def main() -> int:
    """`python -m conda_standin.bootstrap PREFIX`.

    Returns:
        The exit code.
    """
    prefix = Path(sys.argv[1])
    packages: dict[str, Path] = {}
    records: dict[str, Record] = {}
    # Only what the installer brought: a package cache that was here before may hold much more.
    for name in (prefix / ".installing").read_text().split():
        package = prefix / "pkgs" / name
        record = json.loads((package / RECORD_FILE).read_text())
        records[record["name"]] = record
        packages[record["url"]] = package
    sys.argv = ["installer", "-b", "-p", str(prefix)]
    context = Context(prefix, Path.home())

    held = installed(prefix) if is_environment(prefix) else {}
    change = difference(held, {**held, **records}, again=list(records))
    change.link = in_order(change.link)
    Transaction(str(prefix), change, ["conda", "python", "pip"]).execute(context, packages)
    # As constructor's installers leave it: what they were made of.
    urls = [f"{record['url']}#{record['md5']}" for record in in_order(records.values())]
    state = "\n".join([f"# platform: {context.subdir}", "@EXPLICIT", *urls, ""])
    (prefix / "conda-meta/initial-state.explicit.txt").write_text(state)
    (prefix / "envs").mkdir(exist_ok=True)
    condarc = prefix / ".condarc"
    if not condarc.exists():
        condarc.write_text("channels:\n  - conda-forge\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
