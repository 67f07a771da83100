"""A longer way to a port of this machine: a TCP relay that delays both directions, and counts.

    with Relay(22, rtt=0.1) as relay:
        ...  # connect to relay.port
    relay.bytes

The kernel of a test machine may have no netem; this needs nothing but loopback. Every piece leaves
half of the round-trip time after it came, in the order in which they came. A connection is open
after one round trip, as a real one's handshake takes. What it cannot do is delay acknowledgements:
whoever waits for one (Nagle's algorithm) waits less than on a real network.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import closing, suppress
from typing import Any

PIECE = 1 << 16
PATIENCE = 30  # seconds for its thread to begin and to end

Pieces = asyncio.Queue[tuple[float, bytes]]


class Relay:
    """Passes connections on to a port of 127.0.0.1.

    Args:
        target: that port.
        rtt: the round-trip time that is added, in seconds.
    """

    def __init__(self, target: int, rtt: float = 0) -> None:
        self.target, self.rtt = target, rtt
        self.port = 0
        self.counted: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        if not self._listening.wait(PATIENCE):
            raise TimeoutError("the relay does not listen")
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    @property
    def bytes(self) -> int:
        """What has come through, in both directions together."""
        return self.counted["there"] + self.counted["back"]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        # Connections that were closed just now end in the loop's next round.
        await asyncio.sleep(0)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until both sides have nothing more to say."""
        self.counted["connections"] += 1
        with closing(writer):
            await asyncio.sleep(self.rtt)
            # Whoever hangs up, or is not there, has said enough.
            with suppress(OSError):
                back, there = await asyncio.open_connection("127.0.0.1", self.target)
                with closing(there):
                    await asyncio.gather(
                        self._one_way("there", reader, there), self._one_way("back", back, writer)
                    )

    async def _one_way(
        self, name: str, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        """Take what comes, and give it when its time has come."""
        pieces: Pieces = asyncio.Queue()
        giving = asyncio.create_task(self._give(pieces, target))
        try:
            while data := await source.read(PIECE):
                self.counted[name] += len(data)
                pieces.put_nowait((self._loop.time() + self.rtt / 2, data))
            pieces.put_nowait((self._loop.time() + self.rtt / 2, b""))
            await giving
        finally:
            giving.cancel()

    async def _give(self, pieces: Pieces, target: asyncio.StreamWriter) -> None:
        """Give each piece in its turn; an empty one is the end."""
        while True:
            due, data = await pieces.get()
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                if target.can_write_eof():
                    target.write_eof()
                return
            target.write(data)
            await target.drain()
