"""Users of one box, side by side: none sees into another's kernel."""

from __future__ import annotations

import json

from tests.box.user import User

CHATTER = """
import time
until = time.monotonic() + 6
while time.monotonic() < until:
    print("a secret of ada's")
    time.sleep(0.1)
"""
LISTEN = """
import zmq
socket = zmq.Context.instance().socket(zmq.SUB)
socket.subscribe(b"")
socket.rcvtimeo = 4000
socket.connect("tcp://127.0.0.1:{port}")
try:
    print(socket.recv_multipart())
except zmq.Again:
    print("nothing")
"""


def test_nobody_hears_what_anothers_kernel_runs_and_prints(ada: User, bob: User) -> None:
    with ada.kernel("python3") as kernel, bob.kernel("python3") as spy:
        described = kernel.execute(
            "from ipykernel.connect import get_connection_info; print(get_connection_info())"
        )
        # Any user may see which ports are listened on; bob is told, to make it short.
        port = json.loads(described)["iopub_port"]
        chatter = kernel.begin(CHATTER)
        assert spy.execute(LISTEN.format(port=port)) == "nothing"
        # Ada was talking all the while, and heard herself.
        assert kernel.output(chatter).count("a secret") > 10
