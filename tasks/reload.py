"""Reload NVIDIA's driver, where that cures: pyinfra -y inventories/box.py tasks/reload.py

After an upgrade under the module that ran, new programs fail on the GPU. Where the kernel that runs
has the new module, and nothing holds the GPU, this loads it. Else it says who holds it, or that
only a reboot cures: tasks/reboot.py.
"""

from operations import gpu_reload, turn

turn.take(name="One run at a time")
gpu_reload.reload(name="Reload the driver, if that cures it")
