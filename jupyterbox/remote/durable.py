"""What lies on the disk before anything else relies on it: the power may go at any moment."""

import os


def sync(*paths):
    """Have files and directories on the disk as they are now."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(path, text):
    """Write a file, whole or not at all."""
    with open(f"{path}.new", "w") as file:
        file.write(text)
    sync(f"{path}.new")
    os.rename(f"{path}.new", path)
    sync(os.path.dirname(path))


def append(path, line):
    """Add a line to a file."""
    with open(path, "a") as file:
        file.write(f"{line}\n")
    sync(path, os.path.dirname(path))
