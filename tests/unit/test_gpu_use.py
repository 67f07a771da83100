"""What nvidia-smi was recorded to say, of every generation and in every failure, and who uses GPUs.

A few outputs are made of recorded ones, since nobody has recorded that output of that machine: the
rows of a report or of a table that a person reads, as the table would have them that is asked for.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facts.gpu import Gpus, NvidiaDriver
from tests.unit.nvidia_box import NVIDIA, NvidiaBox, said, working_box
from tests.unit.remote import module

smi, gpu_use = module("smi"), module("gpu_use")

EVERY = sorted(str(path.relative_to(NVIDIA)) for path in NVIDIA.glob("nvidia-smi*/*"))
REPORTS = sorted(path.name for path in NVIDIA.glob("nvidia-smi-q-x/*"))
H100_TABLE = said("nvidia-smi-query-gpu-csv-all-fields/h100-mig__590.48.01.txt")
H100_LIST = said("nvidia-smi-L/h100-mig__590.48.01.txt")
PARTIAL = said("nvidia-smi-fail/device-handle-partial__610.57.04-4gpu-1-lost.txt")
HEADER = (
    "index, pci.bus_id, uuid, name, memory.total [MiB], memory.used [MiB], utilization.gpu [%], "
    "temperature.gpu, power.draw [W], persistence_mode\n"
)
POWER = ("instant_power_draw", "power_draw")

box = working_box


def as_table(report: str) -> str:
    """The rows that belong to a recorded report."""
    rows = []
    for index, gpu in enumerate(ElementTree.fromstring(report).iter("gpu")):
        paths = ["uuid", "product_name", "fb_memory_usage/total", "fb_memory_usage/used"]
        paths += ["utilization/gpu_util", "temperature/gpu_temp"]
        values = [gpu.findtext(path, "[N/A]").replace(" C", "") for path in paths]
        powers = [element for element in gpu.iter() if element.tag in POWER]
        last = [str(powers[0].text), gpu.findtext("persistence_mode", "")]
        rows.append(", ".join([str(index), gpu.attrib["id"], *values, *last]))
    return HEADER + "\n".join(rows) + "\n"


def as_report(text: str) -> str:
    """What a recorded `-q` says of MIG, as `-q -x` has it."""
    gpu = re.search(r"^GPU (\S+)$.*?MIG Mode\n\s+Current\s+: (\w+)", text, re.DOTALL | re.MULTILINE)
    assert gpu
    device = r"MIG Device\n\s+Index\s+: (\d+)\n\s+GPU Instance ID\s+: (\d+)\n.*?"
    device += r"FB Memory Usage\n\s+Total\s+: ([^\n]*).*?Used\s+: ([^\n]*)"
    devices = "".join(
        f"<mig_device><index>{index}</index><gpu_instance_id>{instance}</gpu_instance_id>"
        f"<fb_memory_usage><total>{total}</total><used>{used}</used></fb_memory_usage></mig_device>"
        for index, instance, total, used in re.findall(device, text, re.DOTALL)
    )
    return (
        f'<nvidia_smi_log><gpu id="{gpu[1]}"><mig_mode><current_mig>{gpu[2]}</current_mig>'
        f"</mig_mode><mig_devices>{devices}</mig_devices></gpu></nvidia_smi_log>"
    )


def as_rows(table: str) -> Iterator[str]:
    """The rows of the table that a person reads."""
    first = r"\|\s+(\d+)\s+(\S.*?)\s+(On|Off)\s+\|\s+([0-9A-F:.]+) .*\n"
    second = r"\|\s*\S+\s+(\d+)C\s+\S+\s+(\d+)W.*?\|\s+(\d+)MiB /\s+(\d+)MiB \|\s+(\S+?)%? "
    for index, name, on, address, temperature, power, used, total, load in re.findall(
        first + second, table
    ):
        memory = f"{total} MiB, {used} MiB, {load} %, {temperature}, {power}.00 W"
        mode = "Enabled" if on == "On" else "Disabled"
        yield f"{index}, {address}, GPU-{index}, {name}, {memory}, {mode}\n"


# --- readers ---


@pytest.mark.parametrize("name", EVERY)
def test_every_recorded_output_can_be_read(name: str) -> None:
    """Each by every reader: none is upset by what another one is for."""
    text = said(name)
    rows, others = smi.rows_of(text)
    parts, instances = smi.parts_of(text), smi.instances_of(text)
    kind = name.partition("/")[0]
    assert len(parts) == (text.count("</gpu>") if kind == "nvidia-smi-q-x" else 0)
    assert len(instances) == (text.count("(UUID: GPU-") if kind == "nvidia-smi-L" else 0)
    has_header = kind.startswith("nvidia-smi-query") and "noheader" not in name
    assert len(rows) == (len(text.splitlines()) - 1 if has_header else 0)
    assert bool(smi.lost_by(others)) is ("device handle" in text)


def test_there_are_recordings_of_every_kind() -> None:
    kinds = {name.partition("/")[0].removeprefix("nvidia-smi-") for name in EVERY}
    assert kinds == {
        *("L", "fail", "q", "q-x", "query-compute-apps", "query-gpu-csv"),
        *("query-gpu-csv-all-fields", "table", "version"),
    }


PRO_6000 = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"
GENERATIONS = {
    "pascal": ("0000:17:00.0", "Quadro P2000", 5120, 1, 0, 34, 4.61),
    "turing": ("0000:01:00.0", "NVIDIA GeForce RTX 2070", 8192, 1, 0, 14, 9.23),
    "ampere-dual": ("0000:81:00.0", "NVIDIA RTX A5000", 24564, 22437, 0, 13, 6.52),
    "ampere-a100": ("0000:01:00.0", "NVIDIA A100-SXM4-80GB", 81920, 50, None, 27, 67.03),
    "ada": ("0000:06:00.0", "NVIDIA RTX 4000 SFF Ada Generation", 20475, 3534, 0, 38, 8.44),
    "blackwell": ("0000:61:00.0", PRO_6000, 97887, 65720, 0, 24, 3.99),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_gpu_of_each_generation(box: NvidiaBox, name: str) -> None:
    report = said(f"nvidia-smi-q-x/{name}")
    for gpu in ElementTree.fromstring(report).iter("gpu"):
        box.device(smi.address_of(gpu.attrib["id"]), "2504")
    box.smi(as_table(report), report)
    found = box.ask(Gpus)
    assert (found["state"], found["lost"], found["problems"]) == ("healthy", 0, [])
    first = found["gpus"][0]
    keys = ["address", "model", "memory_mb", "memory_used_mb", "utilization_percent"]
    keys += ["temperature_c", "power_w"]
    [expected] = [gpu for start, gpu in GENERATIONS.items() if name.startswith(start)]
    assert tuple(first[key] for key in keys) == expected
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(len(found["gpus"])))


def test_processes_that_compute_are_told_from_those_that_draw() -> None:
    parts = smi.parts_of(said("nvidia-smi-q-x/ada-rtx4000-sff-procs__595.84.xml"))
    found = [(p["pid"], p["name"], p["memory_mb"]) for p in parts["0000:06:00.0"]["processes"]]
    assert found == [(4937, "python", 160), (34626, "/usr/lib/chromium/chromium", 183)]


def test_a_process_on_two_gpus_is_on_both() -> None:
    parts = smi.parts_of(said("nvidia-smi-q-x/ampere-dual-a5000-procs__590.44.01.xml"))
    found = [[(p["pid"], p["memory_mb"]) for p in part["processes"]] for part in parts.values()]
    assert found == [[(100477, 22430)], [(100477, 17246)]]


def test_mig_of_an_h100(box: NvidiaBox) -> None:
    box.device("0000:00:09.0", "2330")
    report = as_report(said("nvidia-smi-q/hopper-h100-mig__590.48.01.txt"))
    box.smi(H100_TABLE, report, H100_LIST)
    [gpu] = box.ask(Gpus)["gpus"]
    assert gpu["mig"] is True
    assert gpu["utilization_percent"] is None
    assert gpu["memory_mb"] == 81559
    found = [
        (i["index"], i["profile"], i["gpu_instance"], i["memory_mb"], i["memory_used_mb"])
        for i in gpu["instances"]
    ]
    assert found == [
        (0, "3g.40gb", 2, 40448, 26),
        (1, "2g.20gb", 3, 20096, 17),
        (2, "1g.10gb", 9, 9984, 9),
        (3, "1g.10gb", 10, 9984, 9),
    ]
    assert gpu["instances"][3]["uuid"] == "MIG-00000003-0000-0000-0000-000000000003"


def test_mig_of_an_a100_whose_list_is_not_known() -> None:
    parts = smi.parts_of(said("nvidia-smi-q-x/ampere-a100-mig-enabled__535.54.03.xml"))
    [part] = parts.values()
    assert part["mig"] is True
    assert [i["gpu_instance"] for i in part["instances"]] == [3, 4, 5, 6]
    assert {(i["memory_mb"], i["uuid"]) for i in part["instances"]} == {(19968, None)}


def test_what_newer_drivers_call_deprecated() -> None:
    for value in ("[Requested functionality has been deprecated]", "[N/A]", "N/A", "", None):
        assert (smi.number(value), smi.word(value), smi.switch(value)) == (None, None, None)
    for value in ("[Unknown Error]", "GPU is lost", "[GPU is lost]", "[Insufficient Permissions]"):
        assert (smi.number(value), smi.word(value)) == (None, None)
    [row], _ = smi.rows_of(said("nvidia-smi-query-gpu-csv-all-fields/rtx2080super__610.57.04.txt"))
    gpu = smi.gpu_of(row)
    assert (gpu["index"], gpu["temperature_c"], gpu["power_w"]) == (0, 33, 39.17)
    assert gpu["persistence"] is False


def test_the_newest_driver() -> None:
    [row], _ = smi.rows_of(said("nvidia-smi-query-gpu-csv/rtx3060__615.71.09.txt"))
    gpu = smi.gpu_of(row)
    assert (gpu["model"], gpu["memory_used_mb"], gpu["power_w"]) == (
        "NVIDIA GeForce RTX 3060",
        1003,
        41.58,
    )


def test_rows_on_arm() -> None:
    recorded = said("nvidia-smi-query-gpu-csv/dual-gh200-noheader__580.173.02.txt")
    rows, _ = smi.rows_of(
        "index, name, driver_version, memory.total [MiB], compute_cap\n" + recorded
    )
    found = [(gpu["index"], gpu["memory_mb"]) for gpu in map(smi.gpu_of, rows)]
    assert found == [(0, 146831), (1, 146831)]


def test_a_report_that_breaks_off_tells_of_the_first_gpus() -> None:
    report = said("nvidia-smi-q-x/turing-dual-rtx2070__590.44.01.xml")
    broken = "Unable to ...\n" + report[: report.index("</gpu>") + 200]
    assert list(smi.parts_of(broken)) == ["0000:01:00.0"]


def test_a_domain_of_more_than_four_digits_is_written_as_the_kernel_does() -> None:
    assert smi.address_of("00010000:0C:00.0") == "10000:0c:00.0"
    assert smi.address_of("00000000:0C:00.0") == "0000:0c:00.0"
    assert smi.address_of("0C:00.0") is None


# --- failures ---

LOST = {
    "device-handle-unknown-error__old-form.txt": "0000:0b:00.0",
    "gpu-is-lost__old-form.txt": "0000:02:00.0",
    "gpu-is-lost__new-form.txt": "0000:24:00.0",
}
FAILURES = {
    "couldnt-communicate.txt": "not_loaded",
    "mismatch-old-form.txt": "mismatch",
    "mismatch-new-form__lib-580.178.txt": "mismatch",
    "no-devices-were-found.txt": "init_failed",
    "nvml-unknown-error__595.84.txt": "init_failed",
}


def test_every_failure_that_was_recorded_is_tested() -> None:
    partial = "device-handle-partial__610.57.04-4gpu-1-lost.txt"
    recorded = {path.name for path in NVIDIA.glob("nvidia-smi-fail/*")}
    assert recorded == {*LOST, *FAILURES, partial}


@pytest.mark.parametrize(("name", "address"), LOST.items())
def test_a_lost_gpu_that_takes_all_rows_away(box: NvidiaBox, name: str, address: str) -> None:
    box.device(address, "2504")
    box.device("0000:ee:00.0", "2504")
    box.smi(said(f"nvidia-smi-fail/{name}"), code=15)
    found = box.ask(Gpus)
    assert (found["state"], found["lost"]) == ("bus_lost", 1)
    assert {gpu["address"]: gpu["lost"] for gpu in found["gpus"]} == {
        address: True,
        "0000:ee:00.0": False,
    }
    [problem] = found["problems"]
    assert problem["problem"] == f"1 of 2 GPUs lost: {address}."


def test_a_lost_gpu_beside_the_rows_of_others(box: NvidiaBox) -> None:
    for address in ("0000:16:00.0", "0000:34:00.0", "0000:ac:00.0", "0000:ca:00.0"):
        box.device(address, "2bb4")
    rows = "".join(as_rows(PARTIAL))
    box.smi(PARTIAL.splitlines()[0] + "\n" + HEADER + rows)
    found = box.ask(Gpus)
    assert (found["state"], found["lost"]) == ("bus_lost", 1)
    table = [(gpu["index"], gpu["lost"], gpu["memory_used_mb"]) for gpu in found["gpus"]]
    assert table == [(0, False, 88450), (None, True, None), (2, False, 88450), (3, False, 10)]


def test_a_gpu_without_a_row_is_lost_synthetic(box: NvidiaBox) -> None:
    for address in ("0000:16:00.0", "0000:34:00.0", "0000:ac:00.0", "0000:ca:00.0"):
        box.device(address, "2bb4")
    box.smi(HEADER + "".join(as_rows(PARTIAL)))
    assert box.ask(Gpus)["lost"] == 1


@pytest.mark.parametrize("value", ["[GPU is lost]", "GPU is lost"])
def test_a_gpu_whose_row_says_that_it_is_lost_synthetic(box: NvidiaBox, value: str) -> None:
    box.device("0000:16:00.0", "2504")
    box.device("0000:ac:00.0", "2504")
    row, other, _ = as_rows(PARTIAL)
    box.smi(HEADER + row + other.replace("100 %", value))
    assert box.ask(Gpus)["lost"] == 1


def test_a_gpu_off_the_bus_is_lost_whatever_is_said_synthetic(box: NvidiaBox) -> None:
    box.device("0000:16:00.0", "2504")
    box.device("0000:34:00.0", "2504", lost=True)
    box.smi("No devices were found\n", code=6)
    found = box.ask(Gpus)
    assert (found["state"], found["lost"]) == ("bus_lost", 1)


@pytest.mark.parametrize(("name", "state"), FAILURES.items())
def test_a_failure_is_told_with_what_was_said(box: NvidiaBox, name: str, state: str) -> None:
    box.device("0000:16:00.0", "2504")
    box.smi(said(f"nvidia-smi-fail/{name}"), code=9)
    found = box.ask(Gpus)
    assert (found["state"], found["lost"]) == (state, 0)
    [problem] = found["problems"]
    assert said(f"nvidia-smi-fail/{name}").split("\n")[0][:60] in problem["problem"]


@pytest.mark.parametrize("said", ["", "some text that nobody has seen yet", HEADER])
def test_an_answer_that_says_nothing(box: NvidiaBox, said: str) -> None:
    box.device("0000:16:00.0", "2504")
    box.smi(said)
    found = box.ask(Gpus)
    assert found["state"] is None
    assert found["problems"][0]["problem"].startswith("nvidia-smi tells of no GPU: ")


# --- asking ---


def test_a_box_without_a_gpu_is_not_asked(box: NvidiaBox) -> None:
    found = box.ask(Gpus)
    assert (found["gpus"], found["state"], found["problems"]) == ([], None, [])
    assert found["not_asked"] == "NVIDIA's driver drives no GPU here"
    assert box.started == []


@pytest.mark.parametrize(
    ("loaded", "libraries", "driver", "reason"),
    [
        (
            "550.78",
            "535.154.05",
            "nvidia",
            "module 550.78 is loaded, and the libraries are 535.154.05",
        ),
        ("550.78", None, "nvidia", "module 550.78 is loaded, and the libraries are none"),
        (None, "550.78", "nvidia", "module (none) is loaded, and the libraries are 550.78"),
        ("550.78", "550.78", "nouveau", "NVIDIA's driver drives no GPU here"),
        ("550.78", "550.78", "vfio-pci", "NVIDIA's driver drives no GPU here"),
    ],
)
def test_a_driver_that_would_not_answer_is_not_asked(
    tmp_path: Path, loaded: str | None, libraries: str | None, driver: str, reason: str
) -> None:
    box = NvidiaBox(tmp_path)
    box.device("0000:16:00.0", "2504", driver=driver)
    if loaded:
        box.load(loaded)
    if libraries:
        box.libraries(libraries)
    found = box.ask(Gpus)
    assert (found["not_asked"], found["state"], found["problems"]) == (reason, None, [])
    assert box.started == []


def test_what_files_tell_of_a_gpu_that_is_not_asked(tmp_path: Path) -> None:
    box = NvidiaBox(tmp_path)
    box.device("0000:62:00.0", "2330")
    text = said("proc-driver-nvidia-gpus-information/h100__535.129.03.txt")
    box.information("0000:62:00.0", text)
    box.load("535.129.03")
    [gpu] = box.ask(Gpus)["gpus"]
    assert gpu["model"] == "NVIDIA H100 80GB HBM3"
    assert gpu["uuid"] == "GPU-9221d5d1-b60b-a624-bf14-0a1819cfda3b"
    assert (gpu["memory_mb"], gpu["lost"]) == (None, False)


def test_nvidia_smi_is_not_installed(box: NvidiaBox) -> None:
    box.device("0000:16:00.0", "2504")
    (box.box / "fake/bin/nvidia-smi").unlink()
    found = box.ask(Gpus)
    assert found["not_asked"] == "nvidia-smi is not installed"
    assert len(found["problems"]) == 1


def test_the_driver_is_asked_when_its_own_state_allows_it(box: NvidiaBox) -> None:
    box.device("0000:16:00.0", "2504")
    assert box.ask(NvidiaDriver)["state"] == "healthy"
    assert box.started == []
    box.ask(Gpus)
    assert set(box.started) == {"nvidia-smi"}


def test_one_that_does_not_answer_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n[ $1 = -L ] && exec echo yes\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(smi, "TIMEOUT", 0.5)
    before = time.monotonic()
    assert smi.ask_smi(smi.TABLE, smi.REPORT) == [None, None]
    assert time.monotonic() - before < 10
    assert smi.ask_smi(smi.LIST) == ["yes\n"]


def test_no_answer_is_a_problem() -> None:
    found = Gpus().process([json.dumps({"gpus": [], "not_asked": None, "said": None})])
    assert found["state"] is None
    assert "did not answer" in found["problems"][0]["problem"]


def test_one_that_was_left_behind_is_not_joined_by_another(tmp_path: Path) -> None:
    start = int(time.clock_gettime(time.CLOCK_BOOTTIME) - 100) * os.sysconf("SC_CLK_TCK")
    stats = {
        "7": f"7 (nvidia-smi) D 1 {'0 ' * 17}{start} 0\n",
        "8": f"8 (nvidia-smi) R 1 {'0 ' * 17}{start} 0\n",
        "9": f"9 (sh) D 1 {'0 ' * 17}{start} 0\n",
        "10": f"10 (nvidia-smi) D 1 {'0 ' * 17}{10**12} 0\n",
    }
    for pid, stat in stats.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "stat").write_text(stat)
    (tmp_path / "11").mkdir()
    (tmp_path / "self").mkdir()
    assert list(gpu_use.hanging(str(tmp_path))) == ["7"]
    said = {"gpus": [], "not_asked": "process 7, an earlier nvidia-smi, hangs", "said": []}
    assert "does not answer" in Gpus().process([json.dumps(said)])["problems"][0]["problem"]


# --- processes ---


@pytest.mark.parametrize(
    ("cgroup", "server"),
    [
        ("0::/system.slice/jupyter-ada-singleuser.service\n", "jupyter-ada-singleuser.service"),
        (
            "12:pids:/x\n1:name=systemd:/system.slice/jupyter-a-b-singleuser.service/kernel\n",
            "jupyter-a-b-singleuser.service",
        ),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/system.slice/jupyter-ada-singleuser.service.d\n", None),
        ("", None),
    ],
)
def test_a_process_has_an_owner_and_maybe_a_server(
    tmp_path: Path, cgroup: str, server: str | None
) -> None:
    (tmp_path / "81").mkdir()
    (tmp_path / "81/cgroup").write_text(cgroup)
    me = pwd.getpwuid(os.getuid()).pw_name
    assert gpu_use.holder(81, str(tmp_path)) == {"user": me, "server": server}
    os.chown(tmp_path / "81", 54321, 54321)
    assert gpu_use.holder(81, str(tmp_path))["user"] == "54321"


def test_a_process_that_has_ended_is_nobodys(tmp_path: Path) -> None:
    assert gpu_use.holder(81, str(tmp_path)) == {"user": None, "server": None}


def test_who_computes_on_a_gpu(box: NvidiaBox) -> None:
    """The recorded process is gone: one of here, which computes nothing, stands in for it."""
    name = "nvidia-smi-q-x/blackwell-rtx-pro-6000-maxq__590.44.01.xml"
    report = said(name).replace("<pid>116860</pid>", f"<pid>{os.getpid()}</pid>")
    box.device("0000:61:00.0", "2bb4")
    box.smi(as_table(report), report)
    [gpu] = box.ask(Gpus)["gpus"]
    [process] = gpu["processes"]
    assert process == {
        "pid": os.getpid(),
        "name": "/root/src/llama.cpp/build/bin/llama-server",
        "memory_mb": 65710,
        "gpu_instance": None,
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "server": None,
    }


# --- garbage ---

PIECES = [HEADER, *H100_TABLE.splitlines(True), H100_LIST, PARTIAL, *as_rows(PARTIAL)]
PIECES += ["<nvidia_smi_log>", '<gpu id="0000:16:00.0">', "</gpu>", "<processes>", "<pid>9</pid>"]
PIECES += ["<process_info>", "<type>C</type>", "</process_info>", "</processes>", "&x;", "9" * 400]
TEXT = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=5)).map("".join)


@given(table=TEXT | st.none(), report=TEXT | st.none(), listed=TEXT | st.none())
def test_garbage_is_an_answer_all_the_same(
    table: str | None, report: str | None, listed: str | None
) -> None:
    answers: dict[str, Any] = {"--": table, "-q": report, "-L": listed}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gpu_use, "ask_smi", lambda *asked: [answers[q[0][:2]] for q in asked])
        gpus = {"0000:16:00.0": smi.gpu_of({})}
        said = gpu_use.ask(gpus)
    rows = [{"address": address, **gpu} for address, gpu in gpus.items()]
    line = json.dumps({"gpus": rows, "not_asked": None, "said": said})
    found = Gpus().process([line])
    assert found["problems"] or found["state"] == "healthy"
