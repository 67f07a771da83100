"""Fetch a file and keep it only if its hash is right.

Arguments: url, sha256, path, ca (PEM text of further authorities to trust).
"""

import contextlib
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

from trust import trusting

HEARTBEAT = 5  # seconds


def download(url, path, trust):
    """Write what a URL answers to a path; its sha256."""
    digest, size, told = hashlib.sha256(), 0, time.monotonic()
    with urllib.request.urlopen(url, timeout=60, context=trust) as answer, open(path, "wb") as file:
        while block := answer.read(1 << 20):
            file.write(block)
            digest.update(block)
            size += len(block)
            if time.monotonic() - told > HEARTBEAT:
                told = time.monotonic()
                print(f"{size >> 20} MB of {url}", flush=True)
    return digest.hexdigest()


def fetch(url, sha256, path, ca):
    """Fetch a file unless it is there; end the program with one sentence if that fails."""
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    trust = trusting(ca)
    part = f"{path}.part"
    try:
        found = download(url, part, trust)
        if found != sha256:
            sys.exit(f"{url} has sha256 {found}, and the settings want {sha256}: it was not run.")
        os.rename(part, path)
    except urllib.error.URLError as error:
        sys.exit(f"{url} does not answer from the box: {error.reason}.")
    except http.client.HTTPException:
        sys.exit(f"{url} does not answer from the box: it does not speak HTTP.")
    except OSError as error:
        sys.exit(f"{url} could not be fetched to {path}: {error.strerror or error}.")
    finally:
        if os.path.exists(part):
            os.unlink(part)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))


if __name__ == "__main__":
    os.umask(0o077)
    fetch(**json.loads(sys.argv[1]))
