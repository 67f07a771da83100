"""What of this project is on a box, and who lives on it, told from files and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.remote import module

belongings = module("belongings")


@pytest.fixture
def conda(tmp_path: Path) -> Path:
    """A conda with two environments of ours, one made by hand, and a link of somebody's."""
    root = tmp_path / "conda"
    for release in ("python3/5d0c", "python3/91ab", "r/77aa"):
        (root / "releases" / release).mkdir(parents=True)
    (root / "envs/plain/conda-meta").mkdir(parents=True)
    (root / "envs/.conda_envs_dir_test").touch()
    (root / "envs/python3").symlink_to("../releases/python3/5d0c")
    (root / "envs/r").symlink_to("../releases/r/77aa")
    (root / "envs/elsewhere").symlink_to(tmp_path)
    return root


def found(root: Path, *files: Path, journal: str = "") -> dict[str, Any]:
    """What is there; the directories of the hub are beside conda's root."""
    (root.parent / "state").mkdir(exist_ok=True)
    (root.parent / "state/journal").write_text(journal)
    told: dict[str, Any] = belongings.belongings(
        files=[*map(str, files)],
        directories=[str(root.parent / name) for name in ("hub", "state")],
        conda=str(root),
        profile=str(root.parent / "conda.sh"),
        journal=str(root.parent / "state/journal"),
        units=[],
    )
    return told


def test_a_conda_of_ours_goes_with_the_link_to_it(conda: Path) -> None:
    profile = conda.parent / "conda.sh"
    profile.symlink_to(f"{conda}/etc/profile.d/conda.sh")
    told = found(conda, journal=f"conda {conda}\n")
    assert told["files"] == [str(profile)]
    # The journal goes last.
    assert told["directories"] == [str(conda), str(conda.parent / "state")]
    assert told["by_hand"] == [f"{conda}/envs/elsewhere", f"{conda}/envs/plain"]


def test_what_people_keep_in_a_conda_of_ours_is_told_whatever_made_it(conda: Path) -> None:
    (conda / "envs/uv/bin").mkdir(parents=True)
    (conda / "by-hand/anaconda3/conda-meta").mkdir(parents=True)
    # What a run that died while it set an environment aside has left.
    (conda / "by-hand/r").symlink_to("../releases/r/77aa")
    assert found(conda, journal=f"conda {conda}\n")["by_hand"] == [
        f"{conda}/{path}"
        for path in ("envs/elsewhere", "envs/plain", "envs/uv", "by-hand/anaconda3")
    ]


def test_a_conda_that_was_made_at_another_root_goes_too(conda: Path, tmp_path: Path) -> None:
    root = tmp_path / "root-of-today"
    (root / "releases").mkdir(parents=True)
    profile = tmp_path / "conda.sh"
    profile.symlink_to(f"{conda}/etc/profile.d/conda.sh")
    told = found(root, journal=f"conda {conda}\nconda {tmp_path}/gone\n")
    assert told["files"] == [str(profile)]
    assert told["directories"] == [str(conda), f"{root}/releases", str(tmp_path / "state")]
    assert f"{conda}/envs/plain" in told["by_hand"]


def test_a_line_of_the_journal_without_an_end_names_nothing(conda: Path) -> None:
    # `conda /opt/conda-old`, cut off.
    told = found(conda.parent / "none", journal=f"package curl\nconda {conda}")
    assert str(conda) not in told["directories"]
    assert told["journal"] == {"package": ["curl"]}


def test_what_is_mounted_in_a_directory_that_goes_is_told(
    conda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def below(directories: list[str]) -> list[str]:
        asked.append(directories)
        return ["/there"]

    monkeypatch.setattr(belongings, "mounted_below", below)
    everything = found(conda, journal=f"conda {conda}\n")
    one = belongings.of_environment(str(conda), "python3")
    assert everything["mounts"] == one["mounts"] == ["/there"]
    assert asked == [everything["directories"], one["directories"]]


def test_of_anothers_conda_what_was_added_goes(conda: Path) -> None:
    (conda.parent / "conda.sh").symlink_to(f"{conda}/etc/profile.d/conda.sh")
    (conda / ".condarc").write_text("# Written by Jupyterbox from the inventory; changes …\n")
    told = found(conda, journal="conda /elsewhere\n")
    assert told["files"] == [f"{conda}/envs/{name}" for name in ("python3", "r")] + [
        f"{conda}/.condarc"
    ]
    assert told["directories"] == [f"{conda}/releases", str(conda.parent / "state")]
    assert told["by_hand"] == [], "it stays with the rest"


def test_anothers_condarc_stays(conda: Path) -> None:
    (conda / ".condarc").write_text("channels: [defaults]\n")
    assert f"{conda}/.condarc" not in found(conda)["files"]


def test_files_that_are_there_go_and_those_that_the_journal_names(conda: Path) -> None:
    ours, noted, gone = (conda.parent / name for name in ("ours", "noted", "gone"))
    ours.touch()
    noted.symlink_to("/nowhere")
    told = found(conda, ours, gone, journal=f"file {noted}\nfile {gone}\npackage curl\n")
    assert told["files"][:2] == [str(ours), str(noted)]
    assert told["journal"]["package"] == ["curl"]


def test_a_bare_box_has_nothing(tmp_path: Path) -> None:
    told = found(tmp_path / "conda")
    assert told["files"] == []
    assert told["directories"] == [str(tmp_path / "state")]


def test_of_one_environment_its_link_and_its_releases(conda: Path) -> None:
    told = belongings.of_environment(str(conda), "python3")
    assert told["files"] == [f"{conda}/envs/python3"]
    assert told["directories"] == [f"{conda}/releases/python3"]
    # A run that died may have left them without a link.
    (conda / "envs/python3").unlink()
    assert belongings.of_environment(str(conda), "python3")["files"] == []


def test_a_link_of_somebodys_is_no_environment_of_ours(conda: Path) -> None:
    told = belongings.of_environment(str(conda), "elsewhere")
    assert (told["files"], told["directories"]) == ([], [])
    assert told["by_hand"] == [f"{conda}/envs/elsewhere"]
    assert belongings.of_environment(str(conda), "r")["by_hand"] == []


@pytest.mark.parametrize("lives", ["exe", "cwd", "argument"])
def test_whoever_lives_on_it_is_told(tmp_path: Path, lives: str) -> None:
    home = tmp_path / "release"
    (home / "bin").mkdir(parents=True)
    program = Path("/bin/sleep")
    if lives == "exe":
        program = home / "bin/sleep"
        program.write_bytes(Path("/bin/sleep").read_bytes())
        program.chmod(0o755)
    command = [str(program), "60"]
    if lives == "argument":
        (home / "bin/job").write_text("import time; print(flush=True); time.sleep(60)")
        command = [sys.executable, str(home / "bin/job")]
    where = home if lives == "cwd" else None
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE)
    try:
        link = tmp_path / "link"
        link.symlink_to(home)
        told = belongings.lives_on([str(link)])
        assert [user["pid"] for user in told] == [process.pid]
        assert told[0]["server"] is None and told[0]["user"]
        assert belongings.lives_on([str(tmp_path / "rel")]) == []
    finally:
        process.kill()
        process.communicate()


def test_what_a_shell_was_told_of_it_is_no_life(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["/bin/sleep", "60"], env={**os.environ, "CONDA_PREFIX": f"{tmp_path}/x"}
    )
    try:
        assert belongings.lives_on([f"{tmp_path}/x"]) == []
    finally:
        process.kill()
        process.wait()


def test_the_processes_of_our_own_units_do_not_count(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for pid, unit in (("7", "jupyterhub.service"), ("8", "jupyter-ada-singleuser.service")):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "exe").symlink_to("/opt/jupyterhub/current/bin/python")
        (proc / pid / "cwd").symlink_to("/")
        (proc / pid / "comm").write_text("python3\n")
        (proc / pid / "cgroup").write_text(f"0::/system.slice/{unit}\n")
    told = belongings.lives_on(["/opt/jupyterhub"], ["jupyterhub.service"], str(proc))
    assert [user["pid"] for user in told] == [8]
