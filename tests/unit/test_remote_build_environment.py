"""The program that builds an environment, with a conda and a uv that say what real ones did.

The recordings under tests/recorded/conda are of conda 26.7.1, those under tests/recorded/uv of the
uv that the hub's lock pins. What the stand-ins leave on the disk is what is built.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import stat
import sys
import threading
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterbox.settings import Hub
from operations.hub_wanted import lock_of, pinned
from tests.unit.engine import RECORDED, recorded
from tests.unit.remote import call, module

reasons = module("reasons")

CHANNEL = "http://127.0.0.1:8123/channel"

# Records what it was asked, says what it is to say, and fills the prefix as it is told.
TOOL = """\
#!/bin/sh
place="$(dirname "$0")/said"
printf '%s\\n' "$@" > "$place/arguments$([ "$3" != pip ] || echo "-$4")"
env > "$place/environment"
for file; do case "$file" in *.txt) cp "$file" "$place/constraints" ;; esac; done
case "$4" in
    list) cat "$place/list"; exit 0 ;;
    compile) cat "$place/compile"; exit 0 ;;
    check) cat "$place/check" >&2; exit 1 ;;
esac
cat "$place/out"; cat "$place/err" >&2
[ -e "$place/fill" ] && . "$place/fill"
exit "$(cat "$place/code")"
"""


class Tool:
    """A conda or a uv."""

    def __init__(self, path: Path) -> None:
        self.said = path.parent / "said"
        self.said.mkdir(parents=True)
        path.write_text(TOOL)
        path.chmod(0o755)
        self.path = path
        self.says()

    def says(self, out: str = "", err: str = "", code: int = 0, fill: str = "") -> None:
        """What it answers, and a shell script for what it does."""
        says = {"out": out, "err": err, "code": str(code), "list": "[]", "compile": "", "check": ""}
        for name, text in says.items():
            (self.said / name).write_text(text)
        (self.said / "fill").write_text(fill)

    @property
    def arguments(self) -> list[str] | None:
        """What it was called with to install, if it was."""
        return self.called_with("-install") or self.called_with("")

    def called_with(self, what: str) -> list[str] | None:
        """The arguments of one of its commands."""
        asked = self.said / f"arguments{what}"
        return asked.read_text().splitlines() if asked.exists() else None

    def environment(self, name: str) -> str | None:
        """A variable that it was called with."""
        lines = (self.said / "environment").read_text().splitlines()
        return dict(line.partition("=")[::2] for line in lines if "=" in line).get(name)


# In place of the hub's jupyter_client: it runs a kernel, which has answered when it ends well.
JUPYTER_CLIENT = """\
import json, subprocess

class KernelSpecManager:
    def __init__(self, kernel_dirs, ensure_native_kernel):
        [self.directory] = kernel_dirs

class KernelManager:
    def __init__(self, kernel_name, kernel_spec_manager):
        with open(f"{kernel_spec_manager.directory}/{kernel_name}/kernel.json") as file:
            self.spec = json.load(file)

    def start_kernel(self, cwd, stdout, stderr):
        with open("PLACE", "a") as file:
            file.write(json.dumps(self.spec) + chr(10))
        self.ended = subprocess.run(self.spec["argv"], stdout=stdout, stderr=stderr).returncode

    def blocking_client(self):
        return self

    def start_channels(self):
        pass

    def wait_for_ready(self, timeout):
        if self.ended:
            raise RuntimeError("Kernel died before replying to kernel_info")

    def shutdown_kernel(self, now):
        raise RuntimeError("No kernel is running!")
"""


class Builder:
    """A conda root, and the release that shall be built in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "conda"
        self.prefix = self.root / "releases/x/0123456789ab"
        self.conda = Tool(self._made(self.root / "bin/conda"))
        self.uv = Tool(self._made(folder / "hub/bin/uv"))
        self.started = folder / "started"
        self.hub, self.cache = folder / "hub", folder / "cache"
        self.python = self._hub(self.hub)
        self.fill_with_kernel()

    def _hub(self, hub: Path) -> Path:
        """The hub's Python, with something that starts kernels."""
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        package = hub / f"lib/{version}/site-packages/jupyter_client"
        package.mkdir(parents=True)
        for name in ("__init__", "manager", "kernelspec"):
            text = JUPYTER_CLIENT.replace("PLACE", str(self.started))
            (package / f"{name}.py").write_text(text)
        real = Path(sys.executable).resolve()
        (hub / "release.json").touch()
        (hub / "pyvenv.cfg").write_text(f"home = {real.parent}\n")
        (hub / "bin/python").symlink_to(real)
        return hub / "bin/python"

    @staticmethod
    def _made(path: Path) -> Path:
        path.parent.mkdir(parents=True)
        return path

    def fill_with_kernel(self, extra: str = "", argv: str = '["python"]') -> None:
        """Have conda make an environment with a kernel."""
        self.conda.says(
            fill=f"""
            kernel={self.prefix}/share/jupyter/kernels/python3
            mkdir -p {self.prefix}/bin {self.prefix}/conda-meta $kernel
            ln -s /bin/true {self.prefix}/bin/python
            printf '%s' '{{"argv": {argv}}}' > $kernel/kernel.json
            printf '%s' '{{"name": "python", "version": "3.11.2", "build": "0", "noise": 1}}' \
                > {self.prefix}/conda-meta/python-3.11.2-0.json
            {extra}
            """
        )

    def build(self, **changes: Any) -> CompletedProcess[str]:
        """Run the program."""
        spec: dict[str, Any] = {
            "root": str(self.root),
            "name": "x",
            "id": "0123456789ab",
            "conda": ["python=3.11", "ipykernel"],
            "pip": [],
            "channels": [CHANNEL, "bioconda"],
            "lock": None,
            "mirror": "https://mirror/conda",
            "python_index": "https://example.org/simple",
            "hub": str(self.hub),
            "cache": str(self.cache),
            "variables": {},
            "unlike": None,
            "by": "jupyterbox test",
        }
        return call("build_environment", python=str(self.python), **{**spec, **changes})

    def failure(self, **changes: Any) -> str:
        """The sentence that it ends with; it must leave nothing behind."""
        done = self.build(**changes)
        assert done.returncode == 1
        assert not self.prefix.exists()
        assert done.stderr.count("\n") == 1, "it is one line"
        return done.stderr.removesuffix("\n")

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.prefix / "release.json").read_text())
        return found


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


# --- what is built ---


def test_a_release_is_what_conda_made_with_a_record_of_it(builder: Builder) -> None:
    done = builder.build()
    assert done.returncode == 0, done.stderr
    assert builder.conda.arguments == [
        *("create", "--yes", "--json", "--prefix", str(builder.prefix)),
        *("--channel", CHANNEL, "--channel", "bioconda", "--override-channels"),
        *("python=3.11", "ipykernel"),
    ]
    # Releases would be listed as environments without a name.
    assert builder.conda.environment("CONDA_REGISTER_ENVS") == "false"
    built = builder.record.pop("built")
    assert built.endswith("+00:00")
    assert {**builder.record, "built": ""} == {
        "id": "0123456789ab",
        "environment": "x",
        "by": "jupyterbox test",
        "declared": {
            "conda": ["python=3.11", "ipykernel"],
            "pip": [],
            "channels": [CHANNEL, "bioconda"],
        },
        "packages": [
            {
                **dict.fromkeys(("channel", "subdir", "fn", "url", "md5", "sha256")),
                "name": "python",
                "version": "3.11.2",
                "build": "0",
            }
        ],
        "python": {},
        "pip": [],
        "mirror": "https://mirror/conda",
        "built": "",
    }
    assert builder.uv.arguments is None


def test_it_says_what_it_does(builder: Builder) -> None:
    assert builder.build().stdout == (
        "environment x: solving and installing python=3.11 ipykernel\n"
        "environment x: starting its kernel python3\n"
    )


def test_one_that_the_hubs_release_is_not_there_for_waits_for_it(builder: Builder) -> None:
    record = builder.hub / "release.json"
    record.unlink()
    with (builder.hub.parent / ".hub.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        building = threading.Thread(target=builder.build)
        building.start()
        while not builder.conda.arguments:
            time.sleep(0.01)
        building.join(0.5)
        assert building.is_alive(), "conda is done, and it waits"
        record.touch()
    building.join()
    assert builder.record["id"] == "0123456789ab"


def test_one_that_nobody_builds_the_hub_for_says_so(builder: Builder) -> None:
    (builder.hub / "release.json").unlink()
    assert builder.failure() == "environment x: it needs the hub's release hub, which is not there."


def test_one_conda_is_at_work_at_a_time(builder: Builder) -> None:
    lock = builder.root / "releases/.conda.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        building = threading.Thread(target=builder.build)
        building.start()
        building.join(1)
        assert building.is_alive() and not builder.conda.arguments
    building.join()
    assert builder.record["id"] == "0123456789ab"


def test_a_complete_release_is_left_alone(builder: Builder) -> None:
    builder.build()
    (builder.conda.said / "arguments").unlink()
    assert builder.build().returncode == 0
    assert builder.conda.arguments is None


def test_what_an_interrupted_run_left_is_built_anew(builder: Builder) -> None:
    builder.prefix.mkdir(parents=True)
    (builder.prefix / "half").touch()
    assert builder.build().returncode == 0
    assert not (builder.prefix / "half").exists()


def test_a_lock_is_installed_as_it_is(builder: Builder) -> None:
    lock = builder.root / "lock.txt"
    lock.write_text("@EXPLICIT\nhttps://example.org/python.conda#abc\n")
    assert builder.build(lock=str(lock), conda=[]).returncode == 0
    assert builder.conda.arguments == [
        *("create", "--yes", "--json", "--prefix", str(builder.prefix)),
        *("--file", str(lock)),
    ]
    assert builder.record["declared"] == {
        "conda": [],
        "pip": [],
        "channels": [CHANNEL, "bioconda"],
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest(),
    }


def test_nothing_in_it_is_writable_to_others(builder: Builder) -> None:
    builder.fill_with_kernel(extra=f"install -m 666 /dev/null {builder.prefix}/open")
    builder.build()
    assert stat.S_IMODE((builder.prefix / "open").stat().st_mode) == 0o644


# --- pip packages ---


def test_pip_packages_may_not_replace_condas(builder: Builder) -> None:
    builder.uv.says()
    (builder.uv.said / "list").write_text(
        '[{"name": "numpy", "version": "2.1.0"}, {"name": "six", "version": "1.17.0"}]'
    )
    assert builder.build(pip=["torch==2.4.0+cu121", "rich"]).returncode == 0
    arguments = builder.uv.arguments
    assert arguments
    assert arguments[:4] == ["--no-config", "--system-certs", "pip", "install"]
    assert arguments[-2:] == ["torch==2.4.0+cu121", "rich"]
    assert arguments[4:6] == ["--python", f"{builder.prefix}/bin/python"]
    assert arguments[6:8] == ["--default-index", "https://example.org/simple"]
    constraints = (builder.uv.said / "constraints").read_text()
    assert constraints == "numpy==2.1.0\nsix==1.17.0\n"


def test_each_python_package_is_recorded_with_the_conda_package_that_brought_it(
    builder: Builder,
) -> None:
    site = builder.prefix / "lib/python3.11/site-packages"
    builder.fill_with_kernel(
        extra=f"""
        mkdir -p {site}/numpy-2.1.0.dist-info {site}/six-1.17.0.dist-info
        printf '%s' '{{"name": "numpy-base", "version": "2.1.0", "build": "0",
            "files": ["lib/python3.11/site-packages/numpy-2.1.0.dist-info/RECORD"]}}' \
            > {builder.prefix}/conda-meta/numpy-base-2.1.0-0.json"""
    )
    done = builder.build()
    assert done.returncode == 0, done.stderr
    marks = {"numpy-2.1.0.dist-info": "numpy-base", "six-1.17.0.dist-info": None}
    assert builder.record["python"] == marks


def test_a_damaged_record_of_conda_is_no_release(builder: Builder) -> None:
    builder.fill_with_kernel(extra=f": > {builder.prefix}/conda-meta/six-1.17.0-0.json")
    sentence = "environment x: conda-meta/six-1.17.0-0.json is empty."
    assert builder.failure() == sentence


# --- what conda says when it does not work ---


def conda_said(recording: str) -> dict[str, Any]:
    """A recorded call of conda."""
    text = (RECORDED / f"conda/{recording}.txt").read_text()
    head, _, rest = text.partition("# ---- stdout")
    out, _, rest = rest.partition("\n")[2].partition("\n# ---- stderr")
    err = rest.partition("\n")[2].partition("\n# ---- end")[0]
    code = next(line for line in head.splitlines() if line.startswith("# exit: "))
    return {"out": out, "err": err, "code": int(code.removeprefix("# exit: "))}


@pytest.mark.parametrize(
    ("recording", "sentence"),
    [
        ("41-unknown-package-json", f"no package 'no-such-pkg-xyz' in {CHANNEL}"),
        ("42c-unsat-python-version-json", f"no package 'python=3.99' in {CHANNEL}"),
        (
            "42-unsat-json",
            "its packages exclude each other: The following packages are incompatible; "
            "needs-new-six * can be installed with any of the following options: needs-new-six 1.0 "
            "would require six >=1.17, which can be installed with any of the following options: "
            "six 1.17.0; needs-old-six * cannot be installed because there are no viable options: "
            "needs-old-six 1.0 would require six <1.17, which cannot be installed because there "
            "are no viable options: six 1.16.0, which conflicts with the versions reported above",
        ),
        (
            "43e-unreachable-connrefused-retries0-json",
            "HTTP 000 CONNECTION FAILED for url <http://127.0.0.1:9/channel/linux-64/repodata.json>",
        ),
        (
            "43b-unreachable-404-channel-json",
            "HTTP 404 File not found for channel nochannel <http://127.0.0.1:8123/nochannel>",
        ),
        (
            "43c-unreachable-file-channel-json",
            "HTTP 404 UNAVAILABLE OR INVALID for channel nochannel <file:///srv/nochannel>",
        ),
        (
            "43d-no-channels-json",
            "No channels are configured. Conda requires at least one channel to search for "
            "packages",
        ),
        # Nothing on standard output: conda cannot write this error as JSON.
        (
            "44-bad-spec-json",
            "Invalid spec 'python=>3..11': Invalid version '3..11*': empty version component",
        ),
        (
            "44b-bad-spec2-json",
            "Invalid spec 'python[version=': Invalid spec 'python[version=': package name contains "
            "invalid characters ([)",
        ),
        # A CondaMultiError.
        (
            "33c-create-explicit-badmd5-json",
            "Conda detected a mismatch between the expected content and downloaded content "
            f"({CHANNEL}/noarch/asttokens-3.0.2-pyhd8ed1ab_0.conda)",
        ),
        (
            "90-tos-create-yes-json",
            "http://127.0.0.1:8123/toschan asks for its Terms of Service, see "
            "Conda.accept_anaconda_terms",
        ),
        ("44c-bad-option", "conda: error: unrecognized arguments: --no-such-option"),
    ],
)
def test_condas_reason_is_one_sentence_and_nothing_stays(
    builder: Builder, recording: str, sentence: str
) -> None:
    said = conda_said(recording)
    assert said["code"] != 0
    builder.conda.says(**said, fill=f"mkdir -p {builder.prefix}/half")
    assert builder.failure() == f"environment x: {sentence}."


def test_the_classic_solver_is_understood_too() -> None:
    said = conda_said("42d-unsat-classic-json")
    reason = reasons.conda_reason(said["out"], said["err"])
    assert reason.startswith("its packages exclude each other: ")
    assert "needs-new-six -> six[version='>=1.17']" in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("out", "err", "sentence"),
    [
        ("", "", "it said nothing"),
        ("half a JSON {", "", "half a JSON {"),
        ("[]", "Killed\n", "Killed"),
        ('{"exception_name": "PackagesNotFoundInChannelsError", "error": "no x"}', "", "no x"),
        ('{"errors": ["no object"], "error": "several\\nlast"}', "", "last"),
        ('{"exception_name": "SomeError"}', "", "SomeError"),
    ],
)
def test_what_no_conda_says_yet_is_a_sentence_too(
    builder: Builder, out: str, err: str, sentence: str
) -> None:
    builder.conda.says(out=out, err=err, code=1)
    assert builder.failure() == f"environment x: {sentence}."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
KEYS = ["error", "errors", "message", "exception_name", "packages", "channels_formatted", "url"]
KINDS = ["PackagesNotFoundInChannelsError", "UnsatisfiableError", "CondaToSError"]


@given(
    st.text()
    | st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(KINDS)).map(json.dumps),
    st.text(),
)
def test_garbage_is_a_reason_too(out: str, err: str) -> None:
    assert isinstance(reasons.conda_reason(out, err), str)
    assert isinstance(reasons.uv_reason(err), str)


def test_no_conda_at_all(builder: Builder) -> None:
    builder.conda.path.unlink()
    assert builder.failure() == f"environment x: {builder.conda.path}: No such file or directory."


# --- what uv says when it does not work ---


@pytest.mark.parametrize(
    ("recording", "sentence"),
    [
        (
            "no-such-package",
            "No solution found when resolving dependencies: Because no-such-package-jupyterbox-xyz "
            "was not found in the package registry and you require no-such-package-jupyterbox-xyz, "
            "we can conclude that your requirements are unsatisfiable",
        ),
        (
            "no-such-version",
            "No solution found when resolving dependencies: Because there is no version of six==99 "
            "and you require six==99, we can conclude that your requirements are unsatisfiable",
        ),
        (
            "conflict",
            "No solution found when resolving dependencies: Because you require six==1.16.0 and "
            "six==1.15.0, we can conclude that your requirements are unsatisfiable",
        ),
        (
            "constraint",
            "No solution found when resolving dependencies: Because you require six>=1.16 and "
            "six==1.15.0, we can conclude that your requirements are unsatisfiable",
        ),
        (
            "no-wheel",
            "No solution found when resolving dependencies: Because numpy==1.9.0 has no usable "
            "wheels and you require numpy==1.9.0, we can conclude that your requirements are "
            "unsatisfiable",
        ),
        (
            "malformed-spec",
            'Failed to parse: `six=1.16`: no such comparison operator "=", must be one of ~= == != '
            "<= >= < > ===",
        ),
        (
            "option-in-spec",
            "Failed to parse: `six --foo`: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, "
            "found `-`",
        ),
        (
            "index-refuses",
            "Request failed after 3 retries in 9.9s: Failed to fetch: "
            "http://127.0.0.1:9/simple/six/: Connection refused (os error 111)",
        ),
        (
            "index-unknown-host",
            "Request failed after 3 retries in 9.9s: Failed to fetch: "
            "http://no-such-host.invalid/simple/six/: failed to lookup address information: Name "
            "or service not known",
        ),
        (
            "url-refused",
            "Failed to download `x @ https://127.0.0.1:9/x-1.0-py3-none-any.whl`: Request failed "
            "after 3 retries in 9.9s: Connection refused (os error 111)",
        ),
        (
            "build-fails",
            "Failed to build `pycurl==7.43.0.1`: The build backend returned an error: "
            "ConfigurationError: Could not run curl-config: [Errno 2] No such file or directory: "
            "'curl-config'",
        ),
        (
            "no-python",
            "No virtual environment or system Python installation found for path "
            "`/nowhere/bin/python`; run `uv venv` to create an environment",
        ),
    ],
)
def test_uvs_reason_is_one_sentence_and_nothing_stays(
    builder: Builder, recording: str, sentence: str
) -> None:
    said = re.sub(r"retries in [\d.]+s", "retries in 9.9s", recorded(f"uv/{recording}"))
    builder.uv.says(err=said, code=1)
    assert builder.failure(pip=["six"]) == f"environment x: pip packages: {sentence}."


def test_the_recordings_are_of_the_uv_that_the_lock_pins() -> None:
    version = pinned(lock_of(Hub()), "uv").split()[0].replace("==", " ")
    for path in sorted((RECORDED / "uv").iterdir()):
        assert path.read_text().startswith(f"# {version}, "), "record them with this uv"


# --- what could not start a kernel ---


@pytest.mark.parametrize(
    ("fill", "sentence"),
    [
        (
            "mkdir -p {prefix}",
            "nothing in it brings a kernel: add ipykernel, r-irkernel or another",
        ),
        (
            "k={prefix}/share/jupyter/kernels/ir; mkdir -p $k; "
            """printf '{{"argv": ["/no/R"]}}' > $k/kernel.json""",
            "its kernel ir starts /no/R, which is not there",
        ),
        (
            "k={prefix}/share/jupyter/kernels/x; mkdir -p $k; echo no > $k/kernel.json",
            "its kernel x is no kernelspec",
        ),
        (
            "k={prefix}/share/jupyter/kernels/x; mkdir -p $k; "
            """printf '{{"argv": []}}' > $k/kernel.json""",
            "its kernel x is no kernelspec",
        ),
    ],
)
def test_a_release_without_a_kernel_that_starts_is_refused(
    builder: Builder, fill: str, sentence: str
) -> None:
    builder.conda.says(fill=fill.format(prefix=builder.prefix))
    assert builder.failure() == f"environment x: {sentence}."


def test_a_kernel_that_does_not_start_is_refused(builder: Builder) -> None:
    builder.fill_with_kernel(
        extra=f"""
        rm {builder.prefix}/bin/python
        printf '#!/bin/sh\\necho "ImportError: libzmq.so.5" >&2; exit 1\\n' \
            > {builder.prefix}/bin/python
        chmod 755 {builder.prefix}/bin/python"""
    )
    assert builder.failure() == (
        "environment x: its kernel python3 does not start: ImportError: libzmq.so.5."
    )


# What ipykernel said on a real box, and a line that another library may add.
TAKEN = """\
#!/bin/sh
[ "$(wc -l < {started})" -gt {times} ] && exit
echo "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:34287')" >&2
echo "it ends" >&2
exit 1
"""


@pytest.mark.parametrize(("times", "starts"), [(2, 3), (9, 4)])
def test_a_kernel_that_finds_a_port_taken_is_started_again(
    builder: Builder, times: int, starts: int
) -> None:
    script = builder.root.parent / "kernel"
    script.write_text(TAKEN.format(started=builder.started, times=times))
    script.chmod(0o755)
    builder.fill_with_kernel(extra=f"ln -sf {script} {builder.prefix}/bin/python")
    if times < starts:
        done = builder.build()
        assert done.returncode == 0, done.stderr
    else:
        assert builder.failure() == "environment x: its kernel python3 does not start: it ends."
    assert len(builder.started.read_text().splitlines()) == starts


def test_a_kernel_is_started_as_a_users_server_would(builder: Builder) -> None:
    builder.fill_with_kernel(argv='["python", "-m", "ipykernel_launcher"], "env": {"A": "1"}')
    assert builder.build(variables={"B": "2"}).returncode == 0
    # jupyter_client would put its own Python in the place of a bare `python`.
    assert json.loads(builder.started.read_text()) == {
        "argv": [f"{builder.prefix}/bin/python", "-m", "ipykernel_launcher"],
        "env": {
            "A": "1",
            "PATH": f"{builder.prefix}/bin:${{PATH}}",
            "CONDA_PREFIX": str(builder.prefix),
            "CONDA_DEFAULT_ENV": "x",
            "B": "2",
        },
    }


# --- a release that is to differ from another ---


def test_a_solve_that_comes_to_the_same_packages_is_thrown_away(builder: Builder) -> None:
    builder.build()
    first, builder.prefix = builder.prefix, builder.prefix.with_name("0123456789ab-2")
    builder.fill_with_kernel()
    done = builder.build(id="0123456789ab-2", unlike="0123456789ab")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "environment x: release 0123456789ab has the newest packages already."
    )
    assert not builder.prefix.exists()
    assert (first / "release.json").exists()


def test_a_solve_that_comes_to_others_is_a_release(builder: Builder) -> None:
    builder.build()
    builder.prefix = builder.prefix.with_name("0123456789ab-2")
    site = builder.prefix / "lib/python3.11/site-packages"
    builder.fill_with_kernel(extra=f"mkdir -p {site}/six-1.17.0.dist-info")
    assert builder.build(id="0123456789ab-2", unlike="0123456789ab").returncode == 0
    assert builder.record["id"] == "0123456789ab-2"


# --- what a lock is made of ---


def test_every_package_comes_after_those_that_it_needs(builder: Builder) -> None:
    depends = {
        "a": ["z >=2", "python >=3.11,<3.12.0a0"],
        "pip": ["python >=3.11", "wheel"],
        "wheel": ["__glibc >=2.17"],
        "z": ["libz"],
        "libz": [],
    }
    records = [
        json.dumps({"name": name, "version": "1", "build": "0", "depends": needed})
        for name, needed in depends.items()
    ]
    meta = builder.prefix / "conda-meta"
    builder.fill_with_kernel(
        extra="".join(
            f"printf '%s' '{record}' > {meta}/{name}-1-0.json\n"
            for name, record in zip(depends, records, strict=True)
        )
        + f"""
        printf '%s' '{{"name": "python", "version": "3.11.2", "build": "0", "depends": ["pip"]}}' \
            > {meta}/python-3.11.2-0.json"""
    )
    done = builder.build()
    assert done.returncode == 0, done.stderr
    names = [package["name"] for package in builder.record["packages"]]
    # Anaconda's Python depends on pip, which depends on Python: Python it is that comes first.
    assert names == ["libz", "z", "python", "a", "wheel", "pip"]


PACKAGES = {
    "six-1.16.0": "py2-none-any py3-none-any",
    "MarkupSafe-3.0.3": "cp311-cp311-manylinux_2_17_x86_64 cp311-cp311-manylinux2014_x86_64 "
    "cp311-cp311-manylinux_2_28_x86_64",
    "wrapt-1.16.0": "py3-none-any",
    # Made from its source, on the box.
    "antlr4_python3_runtime-4.9.3": "py3-none-any",
}


def fill_from_index(builder: Builder, **direct: str) -> None:
    """Have packages in the environment that uv has installed, with tags and direct_url.json."""
    site = builder.prefix / "lib/python3.11/site-packages"
    extra = ""
    for stem, tags in PACKAGES.items():
        info = site / f"{stem}.dist-info"
        lines = "\\n".join(f"Tag: {tag}" for tag in tags.split())
        extra += (
            f"mkdir -p {info}; echo uv > {info}/INSTALLER; printf '{lines}\\n' > {info}/WHEEL\n"
        )
        if source := direct.get(stem.partition("-")[0]):
            extra += f"printf '%s' '{source}' > {info}/direct_url.json\n"
    builder.fill_with_kernel(extra=extra)
    (builder.uv.said / "compile").write_text(recorded("uv/hashes"))


def hashes(builder: Builder) -> dict[str, list[str]]:
    """The beginnings of what is recorded."""
    return {one["name"]: [h[:8] for h in one["hashes"]] for one in builder.record["pip"]}


def test_pip_packages_are_recorded_with_the_hash_of_their_file(builder: Builder) -> None:
    fill_from_index(builder)
    done = builder.build(pip=["six", "wrapt"])
    assert done.returncode == 0, done.stderr
    assert hashes(builder) == {
        "antlr4-python3-runtime": ["f224469b"],
        "markupsafe": ["0bf2a864"],
        "six": ["8abb2f1d"],
        "wrapt": ["6906c410"],
    }
    asked = (builder.uv.said / "constraints").read_text().split()
    assert sorted(asked) == [
        *("antlr4-python3-runtime==4.9.3", "markupsafe==3.0.3", "six==1.16.0", "wrapt==1.16.0")
    ]


def test_an_index_that_does_not_tell_hashes_fails_no_build(builder: Builder) -> None:
    fill_from_index(builder)
    (builder.uv.said / "compile").write_text("")
    assert builder.build(pip=["six"]).returncode == 0
    assert {*map(len, hashes(builder).values())} == {0}


def test_what_did_not_come_from_an_index_says_from_where(builder: Builder) -> None:
    fill_from_index(
        builder,
        six='{"url": "https://example.org/six.whl", "archive_info": {}}',
        wrapt='{"url": "https://example.org/wrapt", "vcs_info": {"vcs": "git"}}',
    )
    assert builder.build(pip=["six"]).returncode == 0
    sources = {one["name"]: one["source"] for one in builder.record["pip"]}
    assert (sources["six"], sources["wrapt"]) == (
        "https://example.org/six.whl",
        "https://example.org/wrapt",
    )
    assert sources["markupsafe"] is None
    assert hashes(builder)["wrapt"] == []
    asked = (builder.uv.said / "constraints").read_text()
    assert "six @ https://example.org/six.whl\n" in asked
    assert "wrapt" not in asked


def test_pip_packages_of_a_lock_are_installed_by_their_hashes(builder: Builder) -> None:
    fill_from_index(builder)
    lock = builder.root / "lock.conda"
    requirement = f"markupsafe==3.0.3 --hash=sha256:{'5' * 64}"
    lock.write_text(f"@EXPLICIT\nhttps://example.org/python.conda#abc\n# pip {requirement}\n")
    done = builder.build(lock=str(lock), conda=[])
    assert done.returncode == 0, done.stderr
    arguments = builder.uv.called_with("-install") or []
    assert {"--no-deps", "--require-hashes", "--requirements"} <= {*arguments}
    # What the lock says counts, whatever else the index has.
    assert hashes(builder)["markupsafe"] == ["55555555"]


def test_a_package_from_the_index_that_lacks_something_is_refused(builder: Builder) -> None:
    site = builder.prefix / "lib/python3.11/site-packages/jupyter_client-8.0.0.dist-info"
    builder.fill_with_kernel(extra=f"mkdir -p {site}; echo uv > {site}/INSTALLER")
    (builder.uv.said / "check").write_text(recorded("uv/check"))
    assert builder.failure(pip=["jupyter_client"]) == (
        "environment x: pip packages: jupyter-client requires jupyter-core>=4.12,!=5.0.*, "
        "but it's not installed."
    )


def test_what_condas_packages_say_to_pip_is_told_and_no_reason(builder: Builder) -> None:
    site = builder.prefix / "lib/python3.11/site-packages/jupyter_client-8.0.0.dist-info"
    builder.fill_with_kernel(extra=f"mkdir -p {site}; echo conda > {site}/INSTALLER")
    (builder.uv.said / "check").write_text(recorded("uv/check"))
    done = builder.build()
    assert done.returncode == 0, done.stderr
    told = "conda's jupyter-client requires tornado>=6.2, but 4.5.3 is installed, says pip"
    assert f"environment x: {told}" in done.stdout.splitlines()


# --- kernels that packages from the Python index leave to people ---

REGISTERS = "from jupyter_client import install_kernel_spec  # --sys-prefix"


def fill_with_package(builder: Builder, source: str, status: int = 0) -> None:
    """Have a package in the environment that brings an install.py; its Python says what it ran."""
    site = builder.prefix / "lib/python3.11/site-packages"
    builder.fill_with_kernel(
        extra=f"""
        mkdir -p {site}/bash_kernel {site}/bash_kernel-1.0.dist-info
        echo uv > {site}/bash_kernel-1.0.dist-info/INSTALLER
        echo 'bash_kernel/install.py,sha256=x,1' > {site}/bash_kernel-1.0.dist-info/RECORD
        echo '{source}' > {site}/bash_kernel/install.py
        rm {builder.prefix}/bin/python
        # Without arguments it is a kernel that answers.
        printf '#!/bin/sh\\n[ "$1" ] || exit 0\\necho "$@" > %s\\necho no >&2; exit {status}\\n' \
            {builder.root}/ran > {builder.prefix}/bin/python
        chmod 755 {builder.prefix}/bin/python"""
    )


def test_a_package_registers_its_kernel_in_the_release(builder: Builder) -> None:
    fill_with_package(builder, REGISTERS)
    assert builder.build(pip=["bash_kernel"]).returncode == 0
    assert (builder.root / "ran").read_text() == "-I -m bash_kernel.install --sys-prefix\n"


def test_a_package_that_installs_something_else_is_not_run(builder: Builder) -> None:
    fill_with_package(builder, "import os")
    assert builder.build(pip=["bash_kernel"]).returncode == 0
    assert not (builder.root / "ran").exists()


def test_a_package_that_does_not_register_its_kernel_fails_the_build(builder: Builder) -> None:
    fill_with_package(builder, REGISTERS, status=1)
    assert builder.failure(pip=["bash_kernel"]) == (
        "environment x: bash_kernel does not register its kernel: no."
    )
