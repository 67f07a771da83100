"""Wait until the hub answers; if it does not in time, show the last lines of its units' journal.

Arguments: url, units, timeout (seconds).
"""

import json
import subprocess
import sys
import time
import urllib.request

LINES = 25


def answers(url):
    """Whether a page is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(url, timeout=5).status == 200
    except OSError:
        return False


def wait(url, units, timeout):
    """Whether it is there in time."""
    deadline = time.monotonic() + timeout
    while not answers(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


def journal(unit):
    """The last lines of a unit's journal."""
    return subprocess.run(
        ["journalctl", "--no-pager", "-o", "cat", "-n", str(LINES), "-u", unit],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ).stdout


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    if not wait(**arguments):
        for unit in arguments["units"]:
            print(f"--- {unit}, last lines of its journal:\n{journal(unit)}", file=sys.stderr)
        sys.exit(f"{arguments['url']} did not answer within {arguments['timeout']} s.")
