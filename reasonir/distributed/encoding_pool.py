"""Judging on several ranks: the first one searches and scores, all of them encode.

The first rank's indexes ask for the documents block by block, as they do alone. Every rank has one block in work, and
takes another as soon as its last one is fetched, so nothing is written, no rank holds more than it works on, and the
numbers are those of one rank: what comes out of a block depends on it alone. The others wait in a group of their own
that no time limit ends.
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


class Crew:
    """The first rank's view of all ranks (see `Workers`).

    Args:
        group: the ranks' own group.
    """

    def __init__(self, group: Any) -> None:
        self.group = group
        self._busy = False

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """The blocks in order; one stream is shared at a time, what is asked for within it is done here."""
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
                    waiting.append((self._given(piece, free), piece))
                if not waiting:
                    return
                rank, piece = waiting.popleft()
                block = self._fetched(rank, piece, encoder)
                if rank is not None:
                    free.append(rank)
                if (following := next(source, None)) is not None:  # before what the caller does with this one
                    waiting.append((self._given(following, free), following))
                yield block
        finally:
            for rank, _ in waiting:  # of a stream that was left early
                if rank:
                    _receive_block(rank, self.group)
            self._busy = False

    def _given(self, piece: Piece | Block, free: deque[int]) -> int | None:
        """Who has a piece, sent to that rank; nobody has what is known already."""
        if isinstance(piece, Block):
            return None
        if rank := free.popleft():
            _send(piece, rank, self.group)
        return rank

    def _fetched(self, rank: int | None, piece: Piece | Block, encoder: Encoder) -> Block:
        if isinstance(piece, Block):
            return piece
        return _receive_block(rank, self.group) if rank else piece.read(encoder)

    def dismiss(self) -> None:
        """Tell the other ranks that this work is done."""
        for rank in range(1, dist.get_world_size(self.group)):
            _send(_DONE, rank, self.group)


def assemble() -> Any:
    """A group of all ranks that waits as long as it takes, None where there is one only; every rank calls this.

    Where no training has brought the ranks together, those that torchrun started are.
    """
    if launched() > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("gloo", timeout=FOREVER)
        atexit.register(dist.destroy_process_group)
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    return dist.new_group(backend="gloo", timeout=FOREVER)


def together(group: Any, encoder: Encoder, work: Callable[[EncoderBackend], None]) -> None:
    """Let the first rank do `work`, all ranks encoding for it with `encoder`; every rank calls this."""
    if group is None:
        work(LOCAL)
    elif dist.get_rank() == 0:
        crew = Crew(group)
        work(crew)
        crew.dismiss()
    else:
        while isinstance(piece := _receive(0, group), Piece):
            _send_block(piece.read(encoder), 0, group)


def give_weights(group: Any, encoder: Encoder) -> None:
    """Let the encoders of all ranks have the weights of the first one's."""
    if group is None:
        return
    for tensor in encoder.state_dict().values():
        values = tensor.detach().cpu().contiguous()
        dist.broadcast(values, 0, group=group)
        tensor.copy_(values)


def _send(what: object, rank: int, group: Any) -> None:
    dist.send_object_list([what], rank, group=group)


def _receive(rank: int, group: Any) -> Any:
    received: list[Any] = [None]
    dist.recv_object_list(received, rank, group=group)
    return received[0]


def _send_block(block: Block, rank: int, group: Any) -> None:
    values_TD = block.representation.values_TD.float().cpu().contiguous()
    _send((tuple(values_TD.shape), block.representation.lengths_N.cpu(), block.tokens_N, block.lost_N), rank, group)
    dist.send(values_TD, rank, group=group)


def _receive_block(rank: int, group: Any) -> Block:
    shape, lengths_N, tokens_N, lost_N = _receive(rank, group)
    values_TD = torch.empty(shape)
    dist.recv(values_TD, rank, group=group)
    return Block(Representation(values_TD, lengths_N), tokens_N, lost_N)
