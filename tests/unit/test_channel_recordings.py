"""The stand-in conda answers as the recorded real one does.

Each recording under tests/recorded/conda is one call of real conda 26.7.1. Here the same calls are
made, in the same order, against the stand-in and the local channel, and what comes back is held
against the recording: exit codes and exception names exactly, JSON by its keys and types, plain
text line by line. Versions, hashes, dates and the set of packages may differ.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.channel.build import build
from tests.channel.server import serve

RECORDED = Path(__file__).parent.parent / "recorded" / "conda"
RECORDED_CHANNEL = "http://127.0.0.1:8123/channel"
# uid and gid of the user whose session the recordings 70 to 78 are. Any that is not root will do.
USER = 1002

# In the order in which they must run. "name" alone: the recorded command as it stands.
_ORDER = """
01-version 01b-version-json 02-info-json
10-create-json 11-create-plain 14-create-empty-json
20-env-list-json 20b-env-list 21-info-envs-json
22-list-json 22b-list-plain 22c-list-one-json 23-list-explicit-md5 23b-list-explicit-sha256
24c-env-export-from-history 25-list-missing-prefix-json
30-install-dryrun-satisfied-json 30b-install-dryrun-satisfied-plain
30d-install-dryrun-unsatisfied-json 30f-setup-six116
30g-dryrun-satisfied-but-newer-exists-json 30i-dryrun-satisfied-range-json
30j-satisfied-skip-if-exists 30k-dryrun-channel-down-json 30m-satisfied-skip-channel-down
30n-satisfied-skip-not-satisfied-json 30o-satisfied-skip-transitive-name
31b-install-again-noop-json 31c-install-again-noop-plain 31d-install-looser-spec-json
31h-remove-pkg-json
32-env-create-file-json 32g-env-create-exists-json 32h-env-create-missing-file-json
33-create-explicit-md5-json 33b-create-explicit-sha256-json 33c-create-explicit-badmd5-json
33d-create-explicit-plain
40-create-exists-no-yes 40b-create-exists-yes-json 40c-create-exists-json-without-yes
40d-create-on-nonenv-dir-json
41-unknown-package-json 41b-unknown-package-plain
42-unsat-json 42b-unsat-plain 42c-unsat-python-version-json
43b-unreachable-404-channel-json 43d-no-channels-json 43e-unreachable-connrefused-retries0-json
43f-override-channels-without-c-json
44-bad-spec-json 44b-bad-spec2-json 44c-bad-option 44d-bad-prefix-relative-name-json
44e-bad-name-chars-json 44g-install-on-missing-prefix-json 44h-install-on-nonenv-dir-json
50-create-dry-run-json 50b-create-dry-run-existing-json
53-run-python-V 53b-run-kernelspec-list 53c-run-exit-code 53e-direct-python 53f-run-missing-cmd
53g-run-missing-env
70-user-info-json 71-user-create-name-json 72-user-env-list-json 72b-user-env-list
75-user-install-global-env-json 75b-user-install-base-json 75c-user-create-global-prefix-json
75d-user-remove-global-env-json 76-user-run-global 76b-user-create-byname-same-as-global
76c-user-activate-by-name
55-install-frozen-json 55b-remove-all-frozen-json
56-remove-all-json 56b-remove-all-plain 56c-env-remove-json 56d-remove-all-missing-json
56e-remove-missing-pkg-json 56f-remove-all-base-json
57-config-system-add-channel-json 57b-config-system-add-channel-again-json
57c-config-show-channels-json 57f-config-remove-channel-json 57g-config-remove-channel-again-json
"""
SCRIPT = _ORDER.split()


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of conda and what came back."""

    command: str
    exit_code: int
    stdout: str
    stderr: str
    environment: dict[str, str]
    user: str


def recording(name: str) -> Call:
    """Read a recording."""
    text = (RECORDED / f"{name}.txt").read_text()
    head, _, rest = text.partition("# ---- stdout")
    stdout, _, rest = rest.partition("\n")[2].partition("\n# ---- stderr")
    stderr = rest.partition("\n")[2].partition("\n# ---- end")[0]
    found = re.match(r"# cmd: (.*)\n# user: (\w+) env: (\{.*\})\n# exit: (\d+)\n", head, flags=re.S)
    assert found, f"{name} is no recording"
    command, user, environment, code = found.groups()
    variables = json.loads(environment.replace("'", '"'))
    return Call(command, int(code), stdout, stderr, variables, user)


class Conda:
    """An installed stand-in, its channel, and two users' homes."""

    def __init__(self, folder: Path, url: str, installer: Path) -> None:
        """Know the places."""
        self.folder = folder
        # Its own path may have a place in it that `here` replaces: a cache in /root.
        self.installer = folder / "installer.sh"
        self.installer.symlink_to(installer)
        self.root = folder / "conda"
        self.files = folder / "files"
        self.channel = f"{url}/conda-forge"

    def here(self, text: str) -> str:
        """Put the places of this run where a recording has those of its own."""
        for theirs, ours in (
            (RECORDED_CHANNEL, self.channel),
            (RECORDED_CHANNEL.rpartition("/")[0], self.channel.rpartition("/")[0]),
            ("/opt/conda", str(self.root)),
            ("/srv/conda/files", str(self.files)),
            ("/home/alice", str(self.folder / "alice")),
            ("/root", str(self.folder / "root")),
            # The local channel has one Python.
            ("python=3.12", "python=3.11"),
        ):
            text = text.replace(theirs, ours)
        return text

    def run(self, recorded: Call) -> Call:
        """Make a recorded call."""
        environment = {name: self.here(value) for name, value in recorded.environment.items()}
        account: dict[str, Any] = {}
        if recorded.user != "root" and os.geteuid() == 0:
            account = {"user": USER, "group": USER, "extra_groups": []}
        command = self.here(recorded.command)
        done = subprocess.run(
            ["bash", "-c", command],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            timeout=60,
            **account,
        )
        return Call(command, done.returncode, done.stdout, done.stderr, environment, recorded.user)

    def conda(self, arguments: str) -> Call:
        """Call the stand-in as root would."""
        return self.shell(f"/opt/conda/bin/conda {arguments}")

    def shell(self, command: str) -> Call:
        """Run a command as root would."""
        return self.run(Call(command, 0, "", "", {"HOME": "/root"}, "root"))

    def prepare(self, name: str) -> None:
        """Do what had been done before a recording was made."""
        envs = self.root / "envs"
        if name.startswith("32-"):
            (self.files / "environment.yml").write_text(
                f"name: fromyml\nchannels: [{self.channel}]\ndependencies: [python, six=1.16]\n"
            )
        elif name.startswith("33-"):
            # A few packages are enough.
            few = r"^@.*\n|^.*/(?:python|python_abi|pip)-\d.*\n"
            for kind in ("md5", "sha256"):
                listed = self.conda(f"list -n python3 --explicit --{kind}").stdout
                kept = "".join(re.findall(few, listed, flags=re.M))
                (self.files / f"explicit-{kind}.txt").write_text(kept)
            bad = re.sub(r"#\S+", f"#{'0' * 32}", kept)
            (self.files / "explicit-badmd5.txt").write_text(bad)
        elif name.startswith("40-"):
            shutil.copytree(envs / "empty", envs / "quiet")
        elif name.startswith("56-"):
            shutil.copytree(envs / "explicit", envs / "clone", symlinks=True)
        elif name.startswith("40d"):
            (envs / "notenv").mkdir()
            (envs / "notenv" / "mine").write_text("stays")
        elif name.startswith("55-"):
            shutil.copytree(envs / "empty", envs / "byname")
            (envs / "byname/conda-meta/frozen").touch()


@pytest.fixture(scope="module")
def conda() -> Iterator[Conda]:
    """A stand-in that was installed by its installer, without channels configured."""
    default = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.environ.get("JUPYTERBOX_CACHE") or os.path.join(default, "jupyterbox")
    built = build(Path(cache, "channel"))
    folder = Path(tempfile.mkdtemp(prefix="channel-test-"))
    try:
        # pytest's own temporary directories are closed to the second user.
        folder.chmod(0o755)
        with serve(Path(built["dir"])) as url:
            found = Conda(folder, url, Path(built["dir"], built["installer"]))
            for name in ("files", "root", "alice"):
                (folder / name).mkdir()
            if os.geteuid() == 0:
                os.chown(folder / "alice", USER, USER)
            subprocess.run(
                ["bash", found.installer, "-b", "-p", found.root],
                env={"PATH": "/usr/bin:/bin", "HOME": str(folder / "root")},
                check=True,
                capture_output=True,
            )
            # The recordings are of a conda without the channel that an installer configures.
            (found.root / ".condarc").unlink()
            yield found
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def answers(conda: Conda) -> dict[str, Call]:
    """What the stand-in answered to every recorded call."""
    found: dict[str, Call] = {}
    for name in SCRIPT:
        recorded = recording(name)
        if recorded.user != "root" and os.geteuid() != 0:
            continue  # it takes root to be a second user
        conda.prepare(name)
        found[name] = conda.run(recorded)
    return found


def shape(value: Any) -> Any:
    """What JSON is made of: keys and types; the items of a list all in one."""
    if isinstance(value, dict):
        if value and all(key.startswith("/") for key in value):
            return {"<path>": shape(list(value.values()))}
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_merged([shape(inner) for inner in value])]
    return {type(value).__name__}


def _merged(shapes: list[Any]) -> Any:
    shapes = [one for one in shapes if one != []]  # of an empty list's items nothing is known
    if shapes and all(isinstance(one, dict) for one in shapes):
        keys = sorted({key for one in shapes for key in one})
        return {key: _merged([one[key] for one in shapes if key in one]) for key in keys}
    if shapes and all(isinstance(one, set) for one in shapes):
        return set().union(*shapes)
    if shapes and all(isinstance(one, list) for one in shapes):
        return [_merged([inner for one in shapes for inner in one])]
    return sorted(map(str, shapes))


def agree(theirs: Any, ours: Any) -> bool:
    """Whether two shapes are the same; an empty list says nothing of what would be in it."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(agree(theirs[key], ours[key]) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return [] in (theirs[0], ours[0]) or agree(theirs[0], ours[0])
    return bool(theirs == ours)


def plain(text: str, conda: Conda) -> list[str]:
    """Lines of plain output without what may differ: places, packages, sizes, blank lines."""
    for ours, theirs in (
        (conda.channel, RECORDED_CHANNEL),
        (conda.channel.rpartition("/")[0], RECORDED_CHANNEL.rpartition("/")[0]),
        (str(conda.root), "/opt/conda"),
        (str(conda.files), "/srv/conda/files"),
        (str(conda.folder / "alice"), "/home/alice"),
        ("conda-forge", "channel"),
    ):
        text = text.replace(ours, theirs)
    lines: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"(Python|OpenSSL) [\d.]+.*", r"\1", line.rstrip())
        line = re.sub(r"^(tmp|/tmp)\S+: line \d+|^bash: line \d+", "SHELL", line)
        if re.match(r"  \S+ +channel/(noarch|linux-64)::\S+$", line):
            line = "  <package>"
        elif re.match(r"    - http\S+/(noarch|linux-64)::\S+==\S+=\w+$", line):
            line = "    - <spec>"
        elif re.match(r"  [\w.-]+-\d[\w.]*-\w+$", line):
            line = "  <dist>"
        elif re.match(r"[\w.-]+ +[\d.]+ +\w+ +http", line):
            line = "<row>"
        elif re.match(r"\w+ +/(opt/conda|home)\S*$", line):
            line = "<environment>"
        elif line.startswith("# Name"):
            line = " ".join(line.split())
        line = re.sub(rf"^{RECORDED_CHANNEL}/\S+#(sha256:)?[0-9a-f]+$", r"<url>#\1<hash>", line)
        if line and line != (lines[-1] if lines else None):
            lines.append(line)
    return lines


@pytest.mark.parametrize("name", SCRIPT)
def test_as_recorded(name: str, answers: dict[str, Call], conda: Conda) -> None:
    """The exit code and the output of one call."""
    if name not in answers:
        pytest.skip("a second user's calls need root")
    theirs, ours = recording(name), answers[name]
    told = f"{ours.command}\n{ours.stdout}\n{ours.stderr}"
    assert ours.exit_code == theirs.exit_code, told
    try:
        expected = json.loads(theirs.stdout)
    except ValueError:
        assert plain(ours.stdout, conda) == plain(theirs.stdout, conda), told
        if name not in CRASHES:
            assert plain(ours.stderr, conda) == plain(theirs.stderr, conda), told
        return
    found = json.loads(ours.stdout)
    assert agree(shape(expected), shape(found)), f"{shape(expected)}\n{shape(found)}\n{told}"
    if "exception_name" in expected:
        for key in ("exception_name", "exception_type"):
            assert found[key] == expected[key], told
    elif "success" in expected:
        assert found["success"] is expected["success"], told


# Real conda dies with a traceback of its own there.
CRASHES = {"44-bad-spec-json", "44b-bad-spec2-json"}


def test_messages_as_recorded(answers: dict[str, Call], conda: Conda) -> None:
    """Errors that say nothing of versions are worded as recorded."""
    for name in SCRIPT:
        theirs = recording(name)
        if name not in answers or not theirs.stdout.startswith("{"):
            continue
        expected, found = json.loads(theirs.stdout), json.loads(answers[name].stdout)
        if "message" in expected:
            ours = re.sub(r"\b(uid|gid): \d+", r"\1: 1002", found["message"])
            assert plain(ours, conda) == plain(expected["message"], conda), name


def test_a_crash_leaves_stdout_empty(answers: dict[str, Call]) -> None:
    """A malformed spec under --json: a traceback on stderr and no JSON at all."""
    for name in CRASHES:
        assert answers[name].stdout == ""
        assert answers[name].stderr.startswith("Traceback (most recent call last):")
        assert "is not JSON serializable" in answers[name].stderr


def test_creating_over_an_environment_deletes_it(conda: Conda, answers: dict[str, Call]) -> None:
    """What real conda does that is dangerous, the stand-in does too."""
    prefix = conda.root / "envs" / "doomed"
    assert conda.conda(f"create -p {prefix} --json --yes").exit_code == 0
    (prefix / "mine").write_text("untracked")
    assert conda.conda(f"create -p {prefix} --json").exit_code == 0
    assert not (prefix / "mine").exists()
    assert (conda.root / "envs/notenv/mine").read_text() == "stays"


def test_removing_takes_dependents_along(conda: Conda, answers: dict[str, Call]) -> None:
    """What needs a removed package goes with it, and what only that had needed."""
    create = f"create -n cascade -c {RECORDED_CHANNEL} --yes --json needs-old-six"
    assert conda.conda(create).exit_code == 0
    gone = json.loads(conda.conda("remove -n cascade six --yes --json").stdout)
    assert {"six", "needs-old-six"} <= {one["name"] for one in gone["actions"]["UNLINK"]}
    assert json.loads(conda.conda("list -n cascade six --json").stdout) == []


def test_records_and_history(conda: Conda, answers: dict[str, Call]) -> None:
    """conda-meta holds what real conda writes there."""
    meta = conda.root / "envs/python3/conda-meta"
    expected = json.loads((RECORDED / "61-conda-meta-ipykernel.json").read_text())
    [path] = meta.glob("ipykernel-*.json")
    found = json.loads(path.read_text())
    assert list(found) == list(expected)
    assert found["requested_specs"] == expected["requested_specs"]
    assert found["requested_spec"] == expected["requested_spec"]
    kinds = [
        {
            one["path_type"]: sorted(one)
            for one in record["paths_data"]["paths"]
            if "prefix_placeholder" not in one
        }
        for record in (expected, found)
    ]
    # Commands of a noarch package are files too; the recorded one has none.
    assert kinds[1].items() >= kinds[0].items()
    [spec] = [one for one in found["paths_data"]["paths"] if one.get("prefix_placeholder")]
    kept = next(one for one in expected["paths_data"]["paths"] if one.get("prefix_placeholder"))
    assert spec.keys() == kept.keys()
    assert (spec["_path"], spec["file_mode"]) == (kept["_path"], kept["file_mode"])

    def skeleton(text: str) -> list[str]:
        text = text.replace(str(conda.root), "/opt/conda")
        text = re.sub(r"==> .* <==", "==>", text)
        text = re.sub(r"^(# cmd: \S+ \w+).*", r"\1", text, flags=re.M)
        text = re.sub(r"^([+-])\S+/\S+::.*\n(?:\1.*\n)*", r"\1\n", text, flags=re.M)
        # What real conda notes of a spec that it had to loosen is of no use to anybody here, and
        # the big metapackage is not installed in this test.
        text = re.sub(r"^# neutered.*\n", "", text, flags=re.M)
        return [step for step in text.split("==>") if "anaconda" not in step]

    assert skeleton((meta / "history").read_text()) == skeleton(
        (RECORDED / "62-history-python3.txt").read_text()
    )


def test_an_environment_behind_a_link(conda: Conda, answers: dict[str, Call]) -> None:
    """A release that envs/NAME links to is listed and activated by NAME."""
    release = conda.root / "releases/named/1"
    created = conda.shell(
        f"CONDA_REGISTER_ENVS=false /opt/conda/bin/conda create -p {release} --yes"
        f" -c {RECORDED_CHANNEL} python"
    )
    assert created.exit_code == 0, created.stderr
    link = conda.root / "envs" / "named"
    link.symlink_to("../releases/named/1")
    details = json.loads(conda.conda("env list --json").stdout)["envs_details"]
    assert details[str(link)]["name"] == "named"
    assert str(release) not in details
    script = conda.files / "activate.sh"
    script.write_text(
        f". {conda.root}/etc/profile.d/conda.sh && conda activate named && echo $CONDA_PREFIX\n"
        "python -c 'import sys; print(sys.prefix)' && conda deactivate && echo $CONDA_SHLVL\n"
    )
    for shell in ("bash", "sh"):
        shown = conda.shell(f"{shell} {script}")
        assert shown.stdout.split() == [str(link), str(link), "0"], shown.stderr


def test_pip_installs_into_the_environment(conda: Conda, answers: dict[str, Call]) -> None:
    """Debian's own schemes are put right: a wheel lands in site-packages and is listed."""
    wheel = conda.files / "isodate-0.7.2-py3-none-any.whl"
    info = "isodate-0.7.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("isodate.py", "")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: isodate\nVersion: 0.7.2\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    prefix = conda.root / "envs/python3"
    done = conda.shell(f"{prefix}/bin/python -m pip install --no-index --no-deps {wheel}")
    assert done.exit_code == 0, done.stderr
    assert (prefix / "lib/python3.11/site-packages/isodate.py").exists()
    [row] = json.loads(conda.conda("list -n python3 --json isodate").stdout)
    assert row in json.loads(recording("32f2-list-frompip-json").stdout)
    # The interpreter's own copy of site.py and the one in the library agree on where to look.
    where = "import site; print(site.getsitepackages()[0])"
    for option in ("", "-Xfrozen_modules=off"):
        shown = conda.shell(f"{prefix}/bin/python {option} -c '{where}'").stdout.strip()
        assert shown == f"{prefix}/lib/python3.11/site-packages"


def test_the_kernel_names_its_interpreter(conda: Conda, answers: dict[str, Call]) -> None:
    """ipykernel's own kernelspec has the absolute path, as conda-forge ships it."""
    prefix = conda.root / "envs/python3"
    spec = json.loads((prefix / "share/jupyter/kernels/python3/kernel.json").read_text())
    assert spec["argv"][0] == f"{prefix}/bin/python"


def test_a_terminated_creation_is_taken_back(conda: Conda, answers: dict[str, Call]) -> None:
    """SIGTERM while packages are linked: exit 1, and no directory stays behind."""
    prefix = conda.root / "envs/terminated"
    done = conda.shell(
        f"/opt/conda/bin/conda create -p {prefix} -c {RECORDED_CHANNEL} --yes --json"
        " python ipykernel >/dev/null 2>&1 & child=$!;"
        f" until test -d {prefix}/lib; do sleep 0.01; done; kill -TERM $child; wait $child"
    )
    assert done.exit_code == 1
    assert not prefix.exists()


def test_the_installer_leaves_what_is_there(conda: Conda, answers: dict[str, Call]) -> None:
    """As Miniforge's: an existing prefix is an error without -u, and an update with it."""
    refused = conda.shell(f"bash {conda.installer} -b -p {conda.root}")
    assert refused.exit_code == 1
    assert "File or directory already exists" in refused.stderr
    updated = conda.shell(f"bash {conda.installer} -b -p {conda.root} -u")
    assert updated.exit_code == 0, updated.stderr
    assert (conda.root / "conda-meta/history").read_text().count("# cmd: installer") == 2
    broken, prefix = conda.files / "broken.sh", conda.folder / "broken"
    broken.write_bytes(conda.installer.read_bytes()[:-1])
    refused = conda.shell(f"bash {broken} -b -p {prefix}")
    assert refused.exit_code == 1
    assert "sha256sum mismatch" in refused.stderr
    assert not prefix.exists()
