"""Whether a Python kernel can compute on a GPU: asked of the driver's own library, and no other."""

import json

# Not libcuda.so: that may be the stub of a toolkit, to build against.
CHECK = """
import ctypes, json
cuda = ctypes.CDLL("libcuda.so.1")
version, devices = ctypes.c_int(), ctypes.c_int()
code = cuda.cuInit(0)
cuda.cuDriverGetVersion(ctypes.byref(version))
if code == 0:
    cuda.cuDeviceGetCount(ctypes.byref(devices))
print(json.dumps({"code": code, "version": version.value, "devices": devices.value}))
"""

# In a child of the kernel: once cuInit has run, processes that are forked cannot use CUDA.
CELL = f"""
import subprocess, sys
child = [sys.executable, "-c", {CHECK!r}]
asked = subprocess.run(child, capture_output=True, text=True)
print(asked.stdout or asked.stderr or f"the check ended with {{asked.returncode}}")
"""

CODES = {
    34: "libcuda is the stub of a toolkit, and no driver's",
    100: "it sees no GPU (an empty CUDA_VISIBLE_DEVICES hides all of them)",
    101: "what CUDA_VISIBLE_DEVICES names is no GPU",
    802: "the switches between the GPUs are not ready, see nvidia-fabricmanager",
    803: "the driver's library differs from the module that is loaded",
    804: "libcuda is not the driver's, or differs from the module that is loaded",
    999: "/dev/nvidia-uvm is missing or denied, or a GPU has failed",
}


class NoCuda(Exception):
    """Why a kernel cannot compute on a GPU."""


def told(printed):
    """What the cell says, in a few words."""
    last = printed.strip().rpartition("\n")[2]
    try:
        said = json.loads(last)
        code, version, devices = said["code"], said["version"], said["devices"]
    except (ValueError, LookupError, TypeError):
        raise NoCuda(last or "the check says nothing") from None
    serves = f"the driver serves CUDA {version // 1000}.{version % 1000 // 10}"
    if code:
        meaning = CODES.get(code, "CUresult in cuda.h names it")
        raise NoCuda(f"cuInit returns {code}: {meaning}; {serves}")
    if not devices:
        raise NoCuda(f"cuInit returns 0, and there is no GPU; {serves}")
    return f"cuInit returns 0, {serves}, {devices} GPU{'s' if devices > 1 else ''}"
