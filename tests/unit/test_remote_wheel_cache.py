"""uv's cache between builds: whole, or thrown away."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterbox.program import PROGRAMS
from tests.unit.remote import module

wheel_cache = module("wheel_cache")


def keep(caches: Path, name: str = "wheel") -> None:
    """Put a wheel into the cache, as a build does that ends."""
    with wheel_cache.wheel_cache(caches, "hub") as cache:
        (cache / "archive-v0" / name).mkdir(parents=True)
        (cache / "archive-v0" / name / "module.py").write_text(name)


def kept(caches: Path) -> list[str]:
    """The wheels that the next build finds."""
    with wheel_cache.wheel_cache(caches, "hub") as cache:
        return sorted(path.name for path in cache.glob("archive-v0/*"))


def test_the_next_build_finds_what_the_last_one_left(tmp_path: Path) -> None:
    keep(tmp_path / "cache")
    assert kept(tmp_path / "cache") == ["wheel"]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_build_that_failed_leaves_its_downloads(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), wheel_cache.wheel_cache(tmp_path, "hub") as cache:
        (cache / "archive-v0/wheel").mkdir(parents=True)
        raise ValueError("no")
    assert kept(tmp_path) == ["wheel"]


BUILD = """
import sys
sys.path.insert(0, {programs!r})
from wheel_cache import wheel_cache
with wheel_cache({caches!r}, "hub") as cache:
    print("at work", flush=True)
    sys.stdin.read()
"""


def build(caches: Path) -> subprocess.Popen[str]:
    """Another build, which is at work until its input ends."""
    source = BUILD.format(programs=str(PROGRAMS), caches=str(caches))
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", source], stdin=pipe, stdout=pipe, text=True)


def test_a_build_that_was_cut_off_leaves_nothing_to_rely_on(tmp_path: Path) -> None:
    keep(tmp_path)
    with build(tmp_path) as other:
        assert other.stdout and other.stdout.readline() == "at work\n"
        other.kill()
    assert kept(tmp_path) == []


def test_one_build_is_at_a_cache_at_a_time(tmp_path: Path) -> None:
    with wheel_cache.wheel_cache(tmp_path, "hub"):
        other = build(tmp_path)
        assert other.stdout
        assert select.select([other.stdout], [], [], 0.5)[0] == [], "it waits"
    with other:
        assert other.stdout.readline() == "at work\n"
        other.communicate()
    assert other.returncode == 0


def test_caches_are_apart(tmp_path: Path) -> None:
    keep(tmp_path)
    with (
        wheel_cache.wheel_cache(tmp_path, "uv") as other,
        wheel_cache.wheel_cache(tmp_path, "hub") as cache,
    ):
        assert other != cache
        assert not other.exists()


def test_a_wheel_that_no_release_has_files_of_is_forgotten(tmp_path: Path) -> None:
    caches, release = tmp_path / "cache", tmp_path / "release"
    release.mkdir()
    keep(caches, "used")
    keep(caches, "left")
    with wheel_cache.wheel_cache(caches, "hub") as cache:
        os.link(cache / "archive-v0/used/module.py", release / "module.py")
        wheel_cache.forget_unused(cache)
    assert kept(caches) == ["used"]
    assert (release / "module.py").read_text() == "used"
