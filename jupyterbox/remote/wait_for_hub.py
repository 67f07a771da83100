"""Wait until the hub answers; if it does not, show the last lines of its units' journal.

Arguments: url, units, timeout (seconds).
"""

import json
import subprocess
import sys
import time
import urllib.request

LINES = 25
RESTARTS = 3  # of a unit that ends on its own; it will do so again


def answers(url):
    """Whether a page is there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(url, timeout=5).status == 200
    except OSError:
        return False


def restarts(units):
    """How often systemd has started each of some units again."""
    try:
        shown = subprocess.run(
            ["systemctl", "show", "-p", "NRestarts", "--value", *units],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout.split()
    except OSError:
        shown = []
    return [int(count) for count in shown]


def wait(url, units, timeout):
    """Wait for a page; None when it is there, else why it will not come."""
    deadline = time.monotonic() + timeout
    before = restarts(units)
    while not answers(url):
        for unit, now, then in zip(units, restarts(units), before, strict=False):
            if now - then >= RESTARTS:
                return f"{unit} ends whenever it is started, and {url} does not answer."
        if time.monotonic() > deadline:
            return f"{url} did not answer within {timeout} s."
        time.sleep(0.25)
    return None


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
    problem = wait(**arguments)
    if problem:
        for unit in arguments["units"]:
            print(f"--- {unit}, last lines of its journal:\n{journal(unit)}", file=sys.stderr)
        sys.exit(problem)
