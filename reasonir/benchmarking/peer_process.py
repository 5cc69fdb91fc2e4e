"""Client of a peer's process: start it in its environment, call its methods, end it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reasonir.benchmarking.base import Failure, Peer, Workload
from reasonir.config import PACKAGE
from reasonir.errors import InputError


class OutOfMemoryError(InputError):
    """A peer ran out of memory."""


class PeerProcess:
    """Peer's process; `call` names a method of `reasonir.benchmarking.peer_server.PeerSession`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], pipe: Connection) -> None:
        self.name = name
        self._process, self._pipe = process, pipe

    def load(self, peer: Peer, workload: Workload) -> None:
        """Start to load a peer; the first `receive` then returns the name of its device."""
        self._pipe.send((peer, workload))

    def call(self, request: str) -> Any:
        """Send a request and return the answer; raises as `receive` does."""
        with suppress(OSError):  # a broken pipe: `receive` finds the reason
            self._pipe.send(request)
        return self.receive()

    def receive(self) -> Any:
        """Wait for the answer and return it.

        Raises:
            InputError: the peer failed or ended.
            OutOfMemoryError: the peer ran out of memory.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            status = self._process.wait()
            if status < 0:  # a signal: the system kills processes when memory runs out
                raise OutOfMemoryError(f"peer {self.name} was killed (out of memory?): reduce batch_size") from None
            raise InputError(f"peer {self.name} ended with status {status}: see its output above") from None
        if isinstance(answer, Failure):
            if answer.out_of_memory:
                raise OutOfMemoryError(f"peer {self.name}: {answer.reason}: reduce batch_size")
            raise InputError(f"peer {self.name} failed: {answer.reason}")
        return answer

    def end(self) -> None:
        """Close the socket, which ends a waiting peer."""
        self._pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def start_peer(name: str, peer: Peer, folder: Path) -> Iterator[PeerProcess]:
    """Start a peer's process in its environment; it ends with the block.

    Args:
        name: name of the peer in messages.
        peer: the peer.
        folder: a temporary folder.
    """
    pipe, child_pipe = multiprocessing.Pipe()
    with child_pipe:
        process = subprocess.Popen(
            [peer.python or sys.executable, "-m", "reasonir.benchmarking.peer_server", str(child_pipe.fileno())],
            pass_fds=[child_pipe.fileno()],
            env=_environment(peer, folder),
        )
    host = PeerProcess(name, process, pipe)
    try:
        yield host
    finally:
        host.end()


def missing(peer: Peer) -> str | None:
    """Return why the peer's interpreter can't be used; None if it can."""
    if peer.python is None or Path(peer.python).is_file():
        return None
    return (
        f"peers_python={peer.python}: there is no such interpreter: run make bench-peers to build that environment, or "
        "name another one with sentence-transformers 6.2"
    )


def _environment(peer: Peer, folder: Path) -> dict[str, str]:
    """Return variables that add this package alone to the peer's environment, without its neighbours."""
    code = folder / "code"
    code.mkdir(exist_ok=True)
    if not (code / PACKAGE.name).exists():
        (code / PACKAGE.name).symlink_to(PACKAGE, target_is_directory=True)
    paths = [str(code)]
    if peer.python is None and os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
