"""Ask nvidia-smi, and read what it says, whatever that is.

The table tells of GPUs: in every driver since 2015 its columns have the same names, it has the
index by which CUDA knows a GPU, which the report has not, and newer drivers print the rows of the
other GPUs where one is lost. The report adds what no table has: MIG's instances, and which of them
a process computes on. The list adds the names of these instances.
"""

import re
import subprocess
import time
from xml.etree import ElementTree

FIELDS = ["index", "pci.bus_id", "uuid", "name", "memory.total", "memory.used", "utilization.gpu"]
FIELDS += ["temperature.gpu", "power.draw", "persistence_mode"]
TABLE = [f"--query-gpu={','.join(FIELDS)}", "--format=csv"]
REPORT = ["-q", "-x"]
LIST = ["-L"]
TIMEOUT = 45  # seconds; without persistence eight GPUs take thirty to wake up

COLUMN = re.compile(r"([a-z][\w.]*)(?: \[[^\]]*\])?")
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
NOTHING = re.compile(
    r"|\[.*\]|N/A|Requested functionality .*|Unknown Error|GPU is lost|Insufficient Permissions"
)
ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", re.IGNORECASE)
# `GPU 0000:0B:00.0:`, `GPU0000:CB:00.0:` and `GPU1: 0000:34:00.0:`, as the driver's age has it.
HANDLE = re.compile(r"device handle for GPU\s?(?:[0-9]+: )?([0-9a-f:.]+): (.*)", re.IGNORECASE)
INSTANCE = re.compile(r"\s+MIG (\S+)\s+Device\s+([0-9]+): \(UUID: (\S+)\)")
GPU = re.compile(r"GPU [0-9]+: .*\(UUID: (\S+)\)")


def ask_smi(*questions):
    """What nvidia-smi says to some questions, asked all at once; None for one without an answer.

    One that does not end is left behind: what waits for a driver cannot always be killed.
    """
    asked = [start(question) for question in questions]
    deadline = time.monotonic() + TIMEOUT
    answers = []
    for process in asked:
        try:
            out, _ = process.communicate(timeout=max(0, deadline - time.monotonic()))
            answers.append(out.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            process.kill()
            answers.append(None)
    return answers


def start(question):
    """Start nvidia-smi; what it complains of comes with what it says, but for the report's."""
    return subprocess.Popen(
        ["nvidia-smi", *question],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if question is REPORT else subprocess.STDOUT,
    )


def rows_of(table):
    """The rows of a table as values by the names of their columns; and its lines that are none."""
    columns, rows, others = None, [], []
    for line in filter(str.strip, table.splitlines()):
        cells = [cell.strip() for cell in line.split(", ")]
        names = [COLUMN.fullmatch(cell) for cell in cells]
        if columns is None and len(cells) > 1 and all(names):
            columns = [name[1] for name in names]
        elif columns and len(cells) == len(columns):
            rows.append(dict(zip(columns, cells, strict=True)))
        else:
            others.append(line.strip())
    return rows, others


def gpu_of(row):
    """A GPU as a row of the table has it; what only the report tells is still empty."""
    return {
        "index": number(row.get("index")),
        "uuid": word(row.get("uuid")),
        "model": word(row.get("name")),
        "lost": any("GPU is lost" in value for value in row.values()),
        "memory_mb": number(row.get("memory.total")),
        "memory_used_mb": number(row.get("memory.used")),
        "utilization_percent": number(row.get("utilization.gpu")),
        "temperature_c": number(row.get("temperature.gpu")),
        "power_w": number(row.get("power.draw"), float),
        "persistence": switch(row.get("persistence_mode")),
        "mig": None,
        "instances": [],
        "processes": [],
    }


def parts_of(report):
    """MIG and processes of each GPU by its address; of a report that breaks off, of the first."""
    begin = report.find("<nvidia_smi_log>")
    parser = ElementTree.XMLPullParser(["end"])
    found = {}
    try:
        parser.feed(report[begin:] if begin >= 0 else "")
        for _, element in parser.read_events():
            address = element.tag == "gpu" and address_of(element.get("id", ""))
            if address:
                found[address] = {
                    "mig": switch(element.findtext("mig_mode/current_mig")),
                    "instances": [*map(instance_of, element.iterfind("mig_devices/mig_device"))],
                    "processes": [*processes_of(element)],
                }
    except ElementTree.ParseError:
        pass
    return found


def instance_of(element):
    """An instance of MIG; its profile and its UUID are in the list."""
    return {
        "index": number(element.findtext("index")),
        "uuid": None,
        "profile": None,
        "gpu_instance": number(element.findtext("gpu_instance_id")),
        "memory_mb": number(element.findtext("fb_memory_usage/total")),
        "memory_used_mb": number(element.findtext("fb_memory_usage/used")),
    }


def processes_of(element):
    """The processes that compute on a GPU; those of type G only draw."""
    for process in element.iterfind("processes/process_info"):
        pid = number(process.findtext("pid"))
        if pid and "C" in (process.findtext("type") or ""):
            yield {
                "pid": pid,
                "name": word(process.findtext("process_name")),
                "memory_mb": number(process.findtext("used_memory")),
                "gpu_instance": number(process.findtext("gpu_instance_id")),
            }


def instances_of(listed):
    """MIG's instances in the list by the UUID of their GPU: its profile and UUID by its index."""
    found, of = {}, None
    for line in listed.splitlines():
        if match := GPU.match(line):
            of = found.setdefault(match[1], {})
        elif of is not None and (match := INSTANCE.match(line)):
            of[number(match[2])] = {"profile": match[1], "uuid": match[3]}
    return found


def lost_by(lines):
    """The addresses of the GPUs that nvidia-smi says to have no handle for."""
    matches = filter(None, map(HANDLE.search, lines))
    return {address for match in matches if (address := address_of(match[1]))}


def address_of(text):
    """A PCI address as the kernel writes it; None where it is none."""
    match = ADDRESS.fullmatch(text.strip())
    return match and f"{int(match[1], 16):04x}:{match[2].lower()}"


def number(text, kind=int):
    """A number with or without its unit; None for what stands in its place."""
    match = NUMBER.match(text or "")
    # What has more digits is no quantity, and too much for a float.
    return kind(float(match[0])) if match and len(match[0]) < 16 else None


def word(text):
    """A value that is no number; None for what stands in its place."""
    text = (text or "").strip()
    return None if NOTHING.fullmatch(text) else text


def switch(text):
    """Whether something is on; None where nobody says."""
    return {"Enabled": True, "Disabled": False}.get((text or "").strip())
