"""The other side of a peer's process: start it in the environment it needs, ask it, end it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from reasonir.benchmarking.base import Failure, Peer, Workload
from reasonir.config import PACKAGE
from reasonir.errors import InputError


class OutOfMemoryError(InputError):
    """A peer needs more memory than there is."""


class PeerProcess:
    """A peer's process; `ask` names a method of `reasonir.benchmarking.peer_server.PeerSession`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], pipe: Connection) -> None:
        self.name = name
        self._process, self._pipe = process, pipe

    def load(self, peer: Peer, workload: Workload) -> str:
        """Let it load a peer, and say on what it computes; raises what `ask` does."""
        return str(self.ask((peer, workload)))

    def ask(self, request: Any) -> Any:
        """The answer to a request.

        Raises:
            InputError: the peer failed or died.
            OutOfMemoryError: it needs more memory than there is.
        """
        try:
            self._pipe.send(request)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            status = self._process.wait()
            if status < 0:  # a signal: the system kills what takes its last memory
                raise OutOfMemoryError(
                    f"peer {self.name} was killed (out of memory?): take a smaller batch_size"
                ) from None
            raise InputError(f"peer {self.name} ended with status {status}: what it wrote stands above") from None
        if isinstance(answer, Failure):
            if answer.out_of_memory:
                raise OutOfMemoryError(f"peer {self.name}: {answer.reason}: take a smaller batch_size")
            raise InputError(f"peer {self.name} failed: {answer.reason}")
        return answer

    def end(self) -> None:
        """Close the socket, which a waiting peer takes as the end."""
        self._pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def hosted(name: str, peer: Peer, place: Path) -> Iterator[PeerProcess]:
    """A process for a peer, in the environment it needs, ended with the block.

    Args:
        name: for messages.
        peer: what is going to be loaded there.
        place: a temporary folder.
    """
    ours, theirs = multiprocessing.Pipe()
    with theirs:
        process = subprocess.Popen(
            [peer.python or sys.executable, "-m", "reasonir.benchmarking.peer_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=_environment(peer, place),
        )
    host = PeerProcess(name, process, ours)
    try:
        yield host
    finally:
        host.end()


def missing(peer: Peer) -> str | None:
    """Why the peer's interpreter can't be used, None where it can."""
    if peer.python is None or Path(peer.python).is_file():
        return None
    return (
        f"peers_python={peer.python}: there is no such interpreter: make bench-peers builds that environment; or name "
        "another that has sentence-transformers 6.2"
    )


def _environment(peer: Peer, place: Path) -> dict[str, str]:
    """This package alone is made known to another environment, nothing that lies beside it in ours."""
    code = place / "code"
    code.mkdir(exist_ok=True)
    if not (code / PACKAGE.name).exists():
        (code / PACKAGE.name).symlink_to(PACKAGE, target_is_directory=True)
    paths = [str(code)]
    if peer.python is None and os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
