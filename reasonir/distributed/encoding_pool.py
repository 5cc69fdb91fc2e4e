"""Distributed encoding for evaluation: rank 0 searches and scores, all ranks encode.

The indexes of rank 0 request the documents block by block, as in a single process. Every rank encodes one block at a
time and gets another as soon as its last one is fetched: nothing is written, no rank holds more than its block, and the
results equal those of one rank, since a block's embeddings depend on that block alone. The other ranks wait in a
process group without a time limit.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from reasonir.data.batch import Representation
from reasonir.distributed.launch import FOREVER, launched
from reasonir.model.caching_encoder import LOCAL, EncoderBackend, Piece
from reasonir.model.embedding_cache import Block
from reasonir.model.encoder import Encoder

_DONE = "done"


class DistributedBackend:
    """Encoder backend of rank 0 that distributes blocks over all ranks (see `EncoderBackend`).

    Args:
        group: process group of all ranks.
    """

    def __init__(self, group: Any) -> None:
        self.group = group
        self._busy = False

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """Yield the blocks in order; requests made while a stream is open are encoded on this rank."""
        if self._busy:
            yield from LOCAL.read(encoder, pieces)
            return
        self._busy = True
        free = deque(range(dist.get_world_size(self.group)))
        waiting: deque[tuple[int | None, Piece | Block]] = deque()
        source = iter(pieces)
        try:
            while True:
                while len(waiting) < dist.get_world_size(self.group) and (piece := next(source, None)) is not None:
                    waiting.append((self._dispatch(piece, free), piece))
                if not waiting:
                    return
                rank, piece = waiting.popleft()
                block = self._fetch(rank, piece, encoder)
                if rank is not None:
                    free.append(rank)
                if (following := next(source, None)) is not None:  # encoded while the caller uses this block
                    waiting.append((self._dispatch(following, free), following))
                yield block
        finally:
            for rank, _ in waiting:  # the stream was closed early
                if rank:
                    _receive_block(rank, self.group)
            self._busy = False

    def _dispatch(self, piece: Piece | Block, free: deque[int]) -> int | None:
        """Send a piece to the next free rank and return that rank; None for a block that is already encoded."""
        if isinstance(piece, Block):
            return None
        if rank := free.popleft():
            _send(piece, rank, self.group)
        return rank

    def _fetch(self, rank: int | None, piece: Piece | Block, encoder: Encoder) -> Block:
        if isinstance(piece, Block):
            return piece
        return _receive_block(rank, self.group) if rank else piece.read(encoder)

    def dismiss(self) -> None:
        """Tell the other ranks that the work is done."""
        for rank in range(1, dist.get_world_size(self.group)):
            _send(_DONE, rank, self.group)


def join_pool() -> Any:
    """Return a gloo group of all ranks without a time limit, None with a single rank; a collective call.

    Without a process group from training, one of the ranks that torchrun started is initialised.
    """
    if launched() > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("gloo", timeout=FOREVER)
        atexit.register(dist.destroy_process_group)
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return dist.new_group(backend="gloo", timeout=FOREVER)


def run_together(group: Any, encoder: Encoder, work: Callable[[EncoderBackend], None]) -> None:
    """Run `work` on rank 0 while all ranks encode for it with `encoder`; a collective call."""
    if group is None:
        work(LOCAL)
    elif dist.get_rank() == 0:
        backend = DistributedBackend(group)
        work(backend)
        backend.dismiss()
    else:
        while isinstance(piece := _receive(0, group), Piece):
            _send_block(piece.read(encoder), 0, group)


def broadcast_weights(group: Any, encoder: Encoder) -> None:
    """Copy the encoder weights of rank 0 to all ranks; a collective call."""
    if group is None:
        return
    for tensor in encoder.state_dict().values():
        values = tensor.detach().cpu().contiguous()
        dist.broadcast(values, 0, group=group)
        tensor.copy_(values)


def _send(message: object, rank: int, group: Any) -> None:
    dist.send_object_list([message], rank, group=group)


def _receive(rank: int, group: Any) -> Any:
    received: list[Any] = [None]
    dist.recv_object_list(received, rank, group=group)
    return received[0]


def _send_block(block: Block, rank: int, group: Any) -> None:
    values_TD = block.representation.values_TD.float().cpu().contiguous()
    terms_T = None if block.representation.terms_T is None else block.representation.terms_T.cpu()
    about = block.representation.lengths_N.cpu(), terms_T, block.tokens_N, block.lost_N
    _send((tuple(values_TD.shape), *about), rank, group)
    dist.send(values_TD, rank, group=group)


def _receive_block(rank: int, group: Any) -> Block:
    shape, lengths_N, terms_T, tokens_N, lost_N = _receive(rank, group)
    values_TD = torch.empty(shape)
    dist.recv(values_TD, rank, group=group)
    return Block(Representation(values_TD, lengths_N, terms_T), tokens_N, lost_N)
