"""The command `jupyterbox status`: pyinfra's recorded answers in, pages and exit statuses out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from jupyterbox import Box, Conda, asking, status
from jupyterbox.asking import FACTS, Answers
from jupyterbox.cli import main
from tests.answers import fact_class, has_shape, shape
from tests.unit.engine import recorded

RECORDED_AT = "127.0.0.1"
TERMINAL_COMMAND = "\x1b]0;"


def completed(stdout: str, stderr: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, stdout, stderr)


@dataclass
class Pyinfra:
    """pyinfra, as it was recorded; `stops` has it stop for all boxes where it stops for one."""

    boxes: dict[str, str]
    roots: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def __call__(
        self, inventory: Path, *words: str, boxes: Iterable[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        if words == ("debug-inventory",):
            return completed(json.dumps([self.declared(name) for name in self.boxes]))
        names = [*boxes]
        self.asked.append((names, [*words]))
        if len(names) > 1 and "password" in {self.boxes[name] for name in names}:
            return self.said(next(name for name in names if self.boxes[name] == "password"))
        answers: dict[str, dict[str, Any]] = {}
        for done in map(self.said, names):
            for fact, by_host in json.loads(done.stdout or "{}").items():
                answers.setdefault(fact, {}).update(by_host)
        return completed(
            json.dumps(answers) if answers else "",
            "\n".join(self.said(name).stderr for name in names),
        )

    def declared(self, name: str) -> dict[str, Any]:
        """A box as `debug-inventory` shows it."""
        box = Box(conda=Conda(root=self.roots.get(name, "/opt/conda")))
        return {"name": name, "groups": ["boxes", "lab"], "data": {"box": box.to_json()}}

    def said(self, name: str) -> subprocess.CompletedProcess[str]:
        """What was recorded of a box, as if it had this name."""
        recording = f"status/{self.boxes[name]}"
        stdout = recorded(recording).replace(f'"{RECORDED_AT}":', f'"{name}":')
        return completed(
            stdout, recorded(f"{recording}-log").replace(f"[{RECORDED_AT}]", f"[{name}]")
        )


Ask = Callable[..., Pyinfra]


@pytest.fixture
def pyinfra(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """An inventory of boxes, each by its name what is recorded of it."""

    def made(roots: dict[str, str] | None = None, **boxes: str) -> Pyinfra:
        one = Pyinfra(boxes, roots or {})
        monkeypatch.setattr(asking, "pyinfra", one)
        return one

    return made


def run(*arguments: str, width: int = 80, **environment: str) -> Result:
    """The command, on an inventory that is there."""
    environment |= {"COLUMNS": str(width), "NO_COLOR": environment.get("NO_COLOR", "")}
    return CliRunner().invoke(main, ["status", __file__, *arguments], env=environment)


def shown(**answers: Any) -> Answers:
    """A box that answered nothing but this."""
    return Answers({**dict.fromkeys(FACTS), **answers}, [])


@pytest.mark.parametrize("recording", ["bare", "used", "damaged"])
@pytest.mark.parametrize("subject", FACTS)
def test_the_recordings_are_of_the_facts_as_they_are(recording: str, subject: str) -> None:
    assert has_shape(answer(recording, subject), shape(fact_class(FACTS[subject])))


def printed(box: Answers, width: int = 80) -> str:
    """The page of a box."""
    paper = StringIO()
    Console(file=paper, width=width).print(*status.page("box", box), sep="\n")
    return paper.getvalue()


@pytest.mark.parametrize(
    ("recording", "code"),
    [("bare", 0), ("used", 1), ("damaged", 1), ("refused", 1), ("password", 1), ("unreachable", 1)],
)
def test_the_exit_status_says_whether_a_box_has_a_problem(
    pyinfra: Ask, recording: str, code: int
) -> None:
    pyinfra(box=recording)
    for arguments in [], ["--json"]:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert result.stderr == ""


def test_a_bare_box_has_no_problems_and_nothing_else(pyinfra: Ask) -> None:
    pyinfra(box="bare")
    page = run().stdout
    assert "No problems." in page
    assert "Debian GNU/Linux 13 (trixie)" in page
    assert "  updates       unknown: apt has no package list of a security archive" in page
    for heading in ("Servers", "Environments", "Kernels", "Private environments"):
        assert f"\n{heading}\n" not in page
    for heading in ("Hub", "Conda"):
        assert f"\n{heading}\n  There is none." in page


def test_a_page_has_everything_a_person_asks(pyinfra: Ask) -> None:
    pyinfra(box="used")
    page = run().stdout
    hub = answer("used", "hub")
    environments = answer("used", "environments")["environments"]
    for what in [
        f"release   {hub['current']}",
        f"JupyterHub {hub['releases'][hub['current']]['versions']['hub']}",
        "jupyterhub-proxy.service  active (running)",
        environments["python3"]["release"],
        "Anaconda3 full",
        "and 1 kernel of users' own that can start",
    ]:
        assert what in page, what
    [server] = [line.split() for line in page.splitlines() if " 1 python3" in line]
    assert server[0] == "demo"
    assert f"{answer('used', 'activity')['servers'][0]['memory_mb']} MB" in " ".join(server)
    [private] = [line.split() for line in page.splitlines() if "tf2 (" in line]
    assert private[0] == "demo"
    [drifted] = [line.split() for line in page.splitlines() if line.startswith("  anaconda3  3.")]
    assert drifted[-1] == "1"
    assert "(1 pip)" in " ".join(drifted)


def answer(recording: str, subject: str) -> Any:
    """What a box answered to a fact."""
    answers = json.loads(recorded(f"status/{recording}"))
    [found] = [answers[asked] for asked in answers if asked.split()[0] == FACTS[subject]]
    return found[RECORDED_AT]


def test_problems_come_first_each_with_its_cure(pyinfra: Ask) -> None:
    pyinfra(box="damaged")
    page = run(width=400).stdout
    top = page.partition("\nSystem\n")[0]
    problems = [problem for subject in FACTS for problem in answer("damaged", subject)["problems"]]
    assert len(problems) > 3
    assert f"{len(problems)} problems:" in top
    lines = [line.strip() for line in top.splitlines()]
    for problem in problems:
        at = lines.index(f"! {problem['problem']}")
        assert lines[at + 1] == problem["cure"]


def test_json_has_every_answer_as_it_is(pyinfra: Ask) -> None:
    pyinfra(box="damaged", gone="unreachable")
    found = json.loads(run("--json").stdout)
    assert list(found) == ["box", "gone"]
    assert list(found["box"]) == ["problems", *FACTS]
    for subject in FACTS:
        assert found["box"][subject] == answer("damaged", subject)
        assert found["gone"][subject] is None
        for problem in found["box"][subject]["problems"]:
            assert problem in found["box"]["problems"]


def test_what_users_call_things_commands_neither_rich_nor_the_terminal(pyinfra: Ask) -> None:
    [mine] = [row for row in answer("damaged", "kernels")["kernelspecs"] if "red" in row["name"]]
    assert TERMINAL_COMMAND in mine["title"]
    pyinfra(box="damaged")
    page = run(width=400).stdout
    assert "[red]mine" in page
    assert r"[bold]\x1b]0;title\x07\x1b[31mred\n[/bold]" in page
    assert "\x1b" not in page
    coloured = run(width=400, FORCE_COLOR="1").stdout
    assert "\x1b[" in coloured
    assert TERMINAL_COMMAND not in coloured
    assert r"[bold]\x1b]0;title\x07\x1b[31mred\n[/bold]" in coloured


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_page_is_as_wide_as_the_terminal(pyinfra: Ask, width: int) -> None:
    pyinfra(box="damaged")
    page = run(width=width).stdout
    assert max(cell_len(line) for line in page.splitlines()) <= width


def test_facts_that_fail_for_one_reason_are_one_problem(pyinfra: Ask) -> None:
    pyinfra(box="refused")
    found = json.loads(run("--json").stdout)["box"]
    [problem] = found["problems"]
    assert problem["problem"] == "Every fact failed: sudo: 3 incorrect password attempts."
    # Not the empty answers that pyinfra prints.
    assert all(found[subject] is None for subject in FACTS)


def test_facts_fail_each_for_its_reason() -> None:
    log = [
        "Connected",
        "Loaded fact facts.box.System (_timeout=60)",
        "Warning: something is slow",
        "Loaded fact facts.conda.Conda (_timeout=60, root=/opt/conda)",
        "Who uses the hub can only be read by root: run this fact with _sudo=true.",
        "Error: could not load fact: facts.hub.HubActivity ",
        "FactProcessError: units: Field required",
        "Error: could not process fact: facts.hub.Hub ",
        "Loaded fact facts.hub.Hub",
        "Error: could not load fact: facts.jupyter.Kernelspecs ",
        "Sorry, user ada is not allowed to execute '/usr/bin/sh -c",
        "import json",
        "'{}'' as root on box.",
        "Error: could not load fact: facts.conda.CondaEnvs ",
    ]
    assert asking.failures(log) == {
        "facts.hub.HubActivity": "Who uses the hub can only be read by root: "
        "run this fact with _sudo=true",
        "facts.hub.Hub": "FactProcessError: units: Field required",
        "facts.jupyter.Kernelspecs": "it did not say why",
        "facts.conda.CondaEnvs": "Sorry, user ada is not allowed to execute this as root",
    }


def test_a_box_that_cannot_be_reached_is_a_problem_of_that_box_alone(pyinfra: Ask) -> None:
    pyinfra(gone="unreachable", box="bare")
    result = run()
    assert result.exit_code == 1
    gone, _, box = result.stdout.partition("\nbox ")
    assert "! The box cannot be reached: Could not connect (" in gone
    assert "Traceback" not in gone
    assert "No problems." in box


def test_a_password_that_nobody_types_keeps_no_other_box_from_answering(pyinfra: Ask) -> None:
    one = pyinfra(asks="password", box="bare")
    result = run()
    assert "! sudo asks for a password on the box, and nobody is here to type it." in result.stdout
    assert "JUPYTERBOX_SUDO_PASSWORD" in result.stdout
    assert "No problems." in result.stdout
    assert [names for names, _ in one.asked] == [["asks", "box"], ["asks"], ["box"]]


def test_a_pyinfra_that_asks_nobody_is_the_problem(
    pyinfra: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pyinfra(box="bare")
    stderr = "--> Loading config...\n--> pyinfra error: No such module: facts.box\n"
    monkeypatch.setattr(one, "said", lambda name: completed("", stderr, 1))
    result = run(width=200)
    assert result.exit_code == 1
    assert "! pyinfra stopped before the box had answered: No such module: facts.box.\n" in (
        "\n".join(line.rstrip() for line in result.stdout.splitlines())
    )


def test_each_box_is_asked_once_about_the_conda_that_it_declares(pyinfra: Ask) -> None:
    one = pyinfra({"b": "/srv/conda"}, a="bare", b="bare", c="bare")
    assert list(json.loads(run("--json").stdout)) == ["a", "b", "c"]
    assert [names for names, _ in one.asked] == [["a", "c"], ["b"]]
    for names, words in one.asked:
        root = "/srv/conda" if names == ["b"] else "/opt/conda"
        assert [word for word in words if "root=" in word] == [
            f"root={root}",
            f"root={root}",
            f"root={root}",
            f"root={root}",
            f"conda_root={root}",
        ]
        assert [word for word in words if word.startswith("facts.")] == list(FACTS.values())


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        (["a1"], ["a1"]),
        (["a*"], ["a1", "a2"]),
        (["lab"], ["a1", "a2", "b"]),
        (["b", "a2"], ["a2", "b"]),
    ],
)
def test_limits_are_names_patterns_or_groups(
    pyinfra: Ask, limits: list[str], names: list[str]
) -> None:
    one = pyinfra(a1="bare", a2="bare", b="bare")
    arguments = [word for limit in limits for word in ("--limit", limit)]
    assert list(json.loads(run("--json", *arguments).stdout)) == names
    assert [asked for asked, _ in one.asked] == [names]


def test_a_limit_that_means_no_box_is_wrong_usage(pyinfra: Ask) -> None:
    pyinfra(a="bare", b="bare")
    result = run("--limit", "c")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {__file__} names no box 'c': it has a, b.\n"
    assert result.stdout == ""


def real(inventory: Path, *arguments: str) -> Result:
    """The command with the real pyinfra."""
    return CliRunner().invoke(main, ["status", str(inventory), *arguments])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "from jupyterbox import Box, Hub\nboxes = [Box(hub=Hub(port=0)).at('box')]\n",
            "does not load: Hub.port is 0: input should be greater than or equal to 1.",
        ),
        ("boxes = [Box().at('box')]\n", "does not load: NameError: name 'Box' is not defined"),
        ("boxes = (\n", "does not load: SyntaxError: '(' was never closed"),
        ("box = 'hub.example.org'\n", "names no box."),
    ],
)
def test_an_inventory_that_does_not_load_is_wrong_usage(
    tmp_path: Path, content: str, said: str
) -> None:
    inventory = tmp_path / "mine.py"
    inventory.write_text(content)
    result = real(inventory)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {inventory} {said}\n"
    assert result.stdout == ""


def test_an_inventory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    result = real(tmp_path / "mine.py")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_pyinfra_itself_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead_url: str
) -> None:
    port = dead_url.rpartition(":")[2]
    (tmp_path / "mine.py").write_text(
        "from jupyterbox import Box\n"
        "print('loading')\n"
        "fake = {'fake_delay': 0, 'fake_delay_jitter': 0}\n"
        # The second is called as the group of both, which this file's name makes.
        "boxes = [('@fake/box', fake), Box().at('mine', ssh_hostname='127.0.0.1', "
        f"ssh_port={port})]\n"
    )
    # An inventory is named as it is seen from here, and config.py lies elsewhere.
    monkeypatch.chdir(tmp_path)
    result = real(Path("mine.py"), "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["@fake/box"]["problems"] == []
    assert found["@fake/box"]["environments"] == {"environments": {}, "problems": []}
    [problem] = found["mine"]["problems"]
    assert problem["problem"].startswith("The box cannot be reached: Could not connect (")
    alone = real(Path("mine.py"), "--limit", "@fake/*")
    assert alone.exit_code == 0, alone.output
    assert "No problems." in alone.stdout
    assert "\nSystem\n  Nothing is known of it: it has no Python.\n" in alone.stdout


@given(name=st.text(min_size=1).filter(lambda name: name[0] != "!"))
def test_a_box_is_asked_by_a_pattern_that_no_group_has(name: str) -> None:
    assert fnmatchcase(name, asking.exactly(name))
    assert asking.exactly(name) != name
    assert not fnmatchcase(f"{name}2", asking.exactly(name))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 seconds"), (59, "59 seconds"), (60, "1 minute"), (7200, "2 hours"), (200000, "2 days")],
)
def test_durations_are_said_in_their_largest_unit(seconds: int, said: str) -> None:
    assert status.duration(seconds) == said


def test_what_a_box_cannot_tell_is_no_number() -> None:
    shown = [status.size(None), status.share(None, 10), status.share(0, None), status.moment(None)]
    assert [text.plain for text in shown] == ["-"] * 4
    assert status.size(1023).plain == "1023 MB"
    assert status.size(1536).plain == "1.5 GB"
    assert status.share(1, 3).plain == "33 %"
    assert status.failed(None, "no systemd").plain == "unknown: no systemd"
    assert status.failed([], "").plain == "none"


def test_what_a_system_lacks_or_waits_for_is_said() -> None:
    found = answer("used", "system")
    failed = {"unit": "backup.service", "since": None, "result": "exit-code"}
    gpu = {"address": "", "vendor": "NVIDIA", "model": None, "id": "", "driver": "nvidia"}
    waiting = {"package": "p", "installed": "1", "available": "2", "archive": "a", "held": False}
    found |= {
        "failed_units": [failed],
        "gpus": [
            {**gpu, "driver_version": "570.1"},
            {**gpu, "driver": None, "driver_version": None},
        ],
        "reboot_pending": ["linux-image-6.12 is newer", "libc6"],
        "clock_synchronized": False,
        "skipped": {"/mnt": "did not answer"},
        "updates": {**found["updates"], "security": [waiting]},
    }
    page = printed(shown(system=found))
    for line in [
        "failed units  backup.service",
        "GPUs          NVIDIA (nvidia 570.1), NVIDIA (no driver)",
        "reboot        pending: linux-image-6.12 is newer, libc6",
        "clock         not synchronized",
        "/mnt          did not answer",
        "updates       1 security update, as of 20",
    ]:
        assert line in page, line


def test_kernels_are_counted_by_their_environment() -> None:
    release = "/opt/conda/releases/python3/0123456789ab"
    assert status.running([release, "/home/ada/.conda/envs/tf2", release]).plain == (
        "2 python3, 1 tf2"
    )


def test_a_kernel_that_another_hides_does_not_start() -> None:
    found = answer("used", "kernels")
    found["kernelspecs"][0] |= {"shadowed_by": "/opt/other/kernels/anaconda3"}
    page = printed(shown(kernels=found), width=200)
    assert "no, shadowed by /opt/other/kernels/anaconda3" in page


@given(text=st.text())
def test_any_text_is_shown_without_commanding_the_terminal(text: str) -> None:
    assert status.plain(text).isprintable()


def renamed(value: Any, data: st.DataObject) -> Any:
    """An answer with other texts of the same kind in it."""
    if isinstance(value, dict):
        return {key: renamed(value[key], data) for key in value}
    if isinstance(value, list):
        return [renamed(entry, data) for entry in value]
    return data.draw(st.text(max_size=8)) if isinstance(value, str) else value


@pytest.mark.parametrize("subject", FACTS)
@given(data=st.data())
def test_a_page_is_shown_whatever_things_are_called(subject: str, data: st.DataObject) -> None:
    found = renamed(answer("used", subject), data)
    assert "\x1b" not in printed(shown(**{subject: found}))


@given(log=st.lists(st.text() | st.sampled_from(["Error: could not load fact: ", "Loaded fact"])))
def test_any_log_is_read(log: list[str]) -> None:
    asking.failures(log)
    stderr = "\n".join(f"[box] {line}" for line in log)
    assert asking.log_of("other", stderr) == []
    asking.read(completed("", stderr), "box")
    assert asking.reason(stderr)
