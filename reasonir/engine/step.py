"""The engine: any objective over any head, exactly, in whatever memory there is.

All texts of a step, queries and documents together (or pairs, for a head that reads both at once), are sorted by
length and cut into micro-batches by padded area. Each becomes a segment of one ordinary autograd graph: kept as it is
while the budget lasts, otherwise checkpointed and recomputed in the backward pass. The objective sees the whole batch,
gathered over ranks, in float32; one backward pass does the rest, so clipping, loss scaling, accumulation and DDP need
nothing of their own here.

Cutting, keeping and recomputing change neither loss nor gradients (to float tolerance; with dropout on, another cut
draws other masks). Shape letters as in `reasonir.types`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reasonir.data.batch import Batch, PairBatch, Relation, Representation, Tokens
from reasonir.distributed.ranks import Ranks
from reasonir.loss.base import Objective, PairOutputs, PruningOutputs, RetrievalOutputs
from reasonir.model.encoder import Encoder
from reasonir.model.replay import replayed


@dataclass(frozen=True, slots=True)
class Budget:
    """How a step is fitted into memory, in padded tokens.

    `micro_batch` bounds one segment; `kept` bounds, together, the segments whose graphs stay in memory. `even` makes
    every rank run equally many forward passes, all recomputed, as sharded parameters (FSDP) require.
    """

    micro_batch: int
    max_saved_tokens: int = 0
    equal_passes: bool = False


def run_step(
    encoder: Encoder, objective: Objective, batch: Batch | PairBatch, budget: Budget, ranks: Ranks
) -> Mapping[str, Tensor]:
    """The terms of a step, each a scalar; `terms["loss"].backward()` gives the exact gradients.

    Under DDP a term is this rank's share: the average over ranks is the value over the whole batch. Beside the
    objective's own terms there is `max_score`, the largest absolute score.
    """
    found = embed(encoder, batch.tokens, budget, ranks)
    with torch.autocast(found.values_TD.device.type, enabled=False):
        if isinstance(batch, PairBatch):
            judged = _paired(encoder.head, batch, found, ranks)
        else:
            judged = _retrieved(encoder.head, batch, found, ranks)
        views = [{**objective(view), "max_score": _largest(view)} for view in judged]
        return {name: torch.stack([view[name] for view in views]).mean() for name in views[0]}


def _largest(judged: PairOutputs) -> Tensor:
    scores = judged.scores_QN if isinstance(judged, RetrievalOutputs) else judged.scores_P
    largest: Tensor = torch.linalg.vector_norm(scores.detach(), torch.inf)
    return largest


def _retrieved(head: Any, batch: Batch, found: Representation, ranks: Ranks) -> Iterator[PairOutputs]:
    """Every query against the documents of all ranks, once for each view that the head is trained at."""
    queries, own = found.split(len(batch.queries))
    documents, relation = _gather(own, batch.relation, ranks)
    device = found.values_TD.device
    query_P, document_P, label_P, negative_QN = _known(relation, len(queries), device)
    for scores_QN in head.views(queries, documents):
        yield RetrievalOutputs(
            scores_P=scores_QN[query_P, document_P],
            query_P=query_P,
            label_P=label_P,
            teachers_P=_on(device, relation.teachers_P),
            ranks=ranks,
            step=batch.step,
            scores_QN=scores_QN,
            document_P=document_P,
            negative_QN=negative_QN,
            queries=queries,
            documents=documents,
        )


def _paired(head: Any, batch: PairBatch, found: Representation, ranks: Ranks) -> Iterator[PairOutputs]:
    """The pairs' scores, and for a pruner its tokens' as well."""
    device = found.values_TD.device
    known = {
        "scores_P": head.scores(found),
        "query_P": batch.query_P.to(device, non_blocking=True),
        "label_P": batch.label_P.to(device, non_blocking=True),
        "teachers_P": _on(device, batch.teachers_P),
        "ranks": ranks,
        "step": batch.step,
    }
    if head.kind == "pruner":
        keeps = head.token_logits(found)
        yield PruningOutputs(
            **known,
            keep_T=keeps.values_TD[:, 0],
            token_label_T=batch.token_label_T.to(device, non_blocking=True),
            pair_T=torch.repeat_interleave(keeps.lengths_N).to(device, non_blocking=True),
        )
    else:
        yield PairOutputs(**known)


def _on(device: torch.device, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device, non_blocking=True) for name, value in values.items()}


def embed(encoder: Encoder, tokens: Tokens, budget: Budget, ranks: Ranks) -> Representation:
    """Representations with a graph behind them, segment by segment, in the order of `tokens`."""
    groups = list(encoder.cut(tokens.lengths_N, budget.micro_batch))
    if budget.equal_passes:
        groups = _split_into(groups, ranks.most(len(groups)))
    lengths_N = encoder.head.vectors(tokens)
    parts, kept = [], 0
    for chosen_M in groups:
        padded = encoder.pad(tokens, chosen_M)
        kept += padded.tokens
        keep = kept <= budget.max_saved_tokens and not budget.equal_passes
        values_TD = encoder(padded) if keep else replayed(encoder, padded)
        parts.append(Representation(values_TD, lengths_N[chosen_M]))
    order_M = torch.cat(groups)
    place_N = torch.empty_like(tokens.lengths_N).scatter_(0, order_M, torch.arange(order_M.numel()))
    return Representation.join(parts).take(place_N)


def _split_into(groups: list[Tensor], count: int) -> list[Tensor]:
    """The same texts in `count` groups: the largest are halved, and once all are single texts the first is repeated."""
    groups = list(groups)
    while len(groups) < count:
        largest = max(range(len(groups)), key=lambda number: groups[number].numel())
        if groups[largest].numel() > 1:
            groups[largest : largest + 1] = groups[largest].tensor_split(2)
        else:
            groups.append(groups[0])
    return groups


def _gather(documents: Representation, relation: Relation, ranks: Ranks) -> tuple[Representation, Relation]:
    """All ranks' documents, each distinct one once, and the relation in terms of those."""
    key_N, offset = ranks.gather_keys(relation.key_N)
    documents = ranks.gather(documents)
    distinct_M, place_N = torch.unique(key_N, return_inverse=True)
    if distinct_M.numel() < key_N.numel():
        first_M = torch.full_like(distinct_M, key_N.numel())
        first_M.scatter_reduce_(0, place_N, torch.arange(key_N.numel()), "amin")
        documents = documents.take(first_M)
        key_N = distinct_M
    else:
        place_N = torch.arange(key_N.numel())
    return documents, replace(relation, document_P=place_N[relation.document_P + offset], key_N=key_N)


def _known(relation: Relation, queries: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(query_P, document_P, label_P, negative_QN) on `device`."""
    sorted_N, order_N = relation.key_N.sort()
    place_K = torch.searchsorted(sorted_N, relation.known_K).clamp_(max=sorted_N.numel() - 1)
    hit_K = sorted_N[place_K] == relation.known_K
    negative_QN = torch.ones(queries, sorted_N.numel(), dtype=torch.bool)
    negative_QN[relation.known_query_K[hit_K], order_N[place_K[hit_K]]] = False
    relevant = relation.label_P > 0
    negative_QN[relation.query_P[relevant], relation.document_P[relevant]] = False
    parts = (relation.query_P, relation.document_P, relation.label_P, negative_QN)
    return tuple(part.to(device, non_blocking=True) for part in parts)  # type: ignore[return-value]
