"""Server in a peer's process: loads a peer and workload, then takes steps on request.

`python -m reasonir.benchmarking.peer_server FD` serves the socket of that file descriptor. It runs in the peer's
environment, so it imports torch and psutil only.
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

from reasonir.benchmarking.base import Failure, FirstStep, Peer, Workload
from reasonir.utils.memory_meter import GIB, Meter

_FLOAT16_SCALE = 2.0**14
"""Loss scale that keeps float16 gradients from vanishing; their norm is divided by it."""


class PeerSession:
    """Loaded peer; its public methods are the requests of `PeerProcess.call`."""

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
        if workload.precision != "32-true":  # also for recomputation in the backward pass, as in peers' trainers
            self._model.forward = self._autocast_too(self._model.forward)
        self._meter = Meter(self._device)
        self._release()

    def device_name(self) -> str:
        """Return the name of the device."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type

    def check(self) -> FirstStep:
        """Take the first step, untimed, and measure loss, gradient and positions."""
        self._model.to(self._device)
        with _counting(self._model) as positions:
            self._model.zero_grad()
            value = self._forward()
            positions_once = sum(positions)
            self._backward(value)
        norms = [p.grad.float().norm() for p in self._model.parameters() if p.grad is not None]
        norm = float(torch.stack(norms).norm()) / self._scale / self._known_scale
        first_step = FirstStep(float(value.detach()), norm, positions_once, sum(positions))
        self._release()
        return first_step

    def step(self) -> float:
        """Return the seconds of a step; on a GPU of the second of two, since other peers used the memory in between."""
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
        """Return the peak memory above the loaded model so far, in GiB."""
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
        """Return a forward pass in mixed precision with features in float32, as accelerate makes it for trainers."""

        @wraps(forward)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self._number_format():
                outputs = forward(*args, **kwargs)
            if not isinstance(outputs, dict):
                return outputs
            return {name: value.float() if _is_half(value) else value for name, value in outputs.items()}

        return wrapped

    def _release(self) -> None:
        """Free the GPU's memory for the other peers."""
        if self._device.type == "cuda":
            self._model.zero_grad()
            self._model.to("cpu")
            gc.collect()
            torch.cuda.empty_cache()


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)


@contextmanager
def _counting(model: nn.Module) -> Iterator[list[int]]:
    """Collect the positions of each forward pass inside the block: batch times length at the first layer."""
    first = next(module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module))[0]
    positions: list[int] = []

    def count(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden_NLH = args[0] if args else kwargs["hidden_states"]
        positions.append(hidden_NLH.shape[:-1].numel())

    handle = first.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield positions
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
    """Answer requests until the other side closes: first a peer and its workload, then names of methods."""
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
    """Serve the socket of the command line's file descriptor."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
