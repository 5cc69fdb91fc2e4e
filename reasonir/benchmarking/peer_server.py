"""A peer's process: it loads what it is sent, and takes a step whenever it is asked to.

`python -m reasonir.benchmarking.peer_server FD` speaks over the socket of that file descriptor. It
runs in whatever environment the peer needs, so it imports torch and psutil only.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

from reasonir.benchmarking.base import Checked, Failure, Peer, Workload
from reasonir.utils.memory_meter import GIB, Meter

_FLOAT16_SCALE = 2.0**14
"""Keeps float16 gradients from vanishing; taken out of them again before they are looked at."""


class PeerSession:
    """A loaded peer; its methods are what it may be asked."""

    def __init__(self, peer: Peer, workload: Workload) -> None:
        self._device = torch.device(workload.device)
        if workload.memory_cap_gib and self._device.type == "cuda":
            whole = torch.cuda.get_device_properties(self._device).total_memory / GIB
            torch.cuda.set_per_process_memory_fraction(min(1.0, workload.memory_cap_gib / whole))
        self._number_format = workload.number_format
        self._scale = _FLOAT16_SCALE if workload.precision == "16-mixed" else 1.0
        self._known_scale = peer.gradient_scale(workload)
        self._model, self._loss = peer.load(workload)
        self._model.train()
        without_dropout(self._model)
        if workload.precision != "32-true":  # also where a backward pass reads texts again, as peers' trainers have it
            self._model.forward = self._autocast_too(self._model.forward)
        self._meter = Meter(self._device)
        self._release()

    def device_name(self) -> str:
        """What computes here."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    def check(self) -> Checked:
        """The first step, which isn't timed."""
        self._model.to(self._device)
        with _counting(self._model) as positions:
            self._model.zero_grad()
            value = self._forward()
            once = sum(positions)
            self._backward(value)
        norms = [p.grad.float().norm() for p in self._model.parameters() if p.grad is not None]
        norm = float(torch.stack(norms).norm()) / self._scale / self._known_scale
        found = Checked(float(value.detach()), norm, once, sum(positions))
        self._release()
        return found

    def step(self) -> float:
        """Seconds of a step; on a GPU the second of two, since others took the memory in between."""
        if self._device.type == "cuda":
            self._model.to(self._device)
            self._step()
            torch.cuda.synchronize(self._device)
        started = time.perf_counter()
        self._step()
        seconds = time.perf_counter() - started
        self._release()
        return seconds

    def peak_gib(self) -> float:
        """The most memory above the loaded model so far."""
        return self._meter.peak_gib

    def _step(self) -> None:
        self._model.zero_grad()
        value = self._forward()
        self._backward(value)
        float(value.detach())  # waits for the device

    def _forward(self) -> Tensor:
        with self._number_format():
            return self._loss()

    def _backward(self, value: Tensor) -> None:
        (value * self._scale).backward()  # type: ignore[no-untyped-call]

    def _autocast_too(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._number_format():
                return forward(*args, **kwargs)

        return wrapped

    def _release(self) -> None:
        """Leave a GPU's memory to the others, whose turn it is."""
        if self._device.type == "cuda":
            self._model.zero_grad()
            self._model.to("cpu")
            gc.collect()
            torch.cuda.empty_cache()


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[int]]:
    """How many positions each forward pass inside the block computes: batch times length at the first layer."""
    first = next(module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module))[0]
    found: list[int] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden_NLH = args[0] if args else kwargs["hidden_states"]
        found.append(hidden_NLH.shape[:-1].numel())

    handle = first.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def without_dropout(model: nn.Module) -> None:
    """Set every dropout of a model to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def serve(pipe: Connection) -> None:
    """Answer until the other side closes: first a peer and its workload, then names of `Session`'s methods."""
    try:
        peer, workload = pipe.recv()
        session = PeerSession(peer, workload)
        pipe.send(session.device_name())
        while True:
            pipe.send(getattr(session, pipe.recv())())
    except EOFError:
        return
    except torch.OutOfMemoryError as error:
        pipe.send(Failure(str(error).splitlines()[0], out_of_memory=True))
    except Exception as error:
        pipe.send(Failure(f"{type(error).__name__}: {error}"))
        raise


def main() -> None:
    """Serve the socket that the command line names."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
