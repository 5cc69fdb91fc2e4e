"""Exact training step of any objective with any head, in the memory there is (gradient caching, GradCache).

All texts of a step, queries and documents together (or pairs, for a head that reads both), are sorted by length and cut
into micro-batches by padded area. Each becomes a segment of one autograd graph: stored while the budget lasts,
otherwise checkpointed and recomputed in the backward pass. The objective sees the whole batch, gathered over ranks, in
float32; a single backward pass computes all gradients, so clipping, loss scaling, accumulation and DDP need no special
handling.

Micro-batching, storing and recomputing change neither loss nor gradients (to float tolerance; with dropout, other
micro-batches draw other masks).

Shape letters: T vectors or tokens of all texts, N texts or documents, M a selection of N, Q queries, P pairs, K known
relations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    """Memory budget of a step, in padded tokens.

    Attributes:
        micro_batch: maximum of one segment.
        max_saved_tokens: maximum of all segments whose graphs stay in memory.
        equal_passes: run equally many forward passes on every rank, all recomputed, as FSDP requires.
    """

    micro_batch: int
    max_saved_tokens: int = 0
    equal_passes: bool = False


def run_step(
    encoder: Encoder, objective: Objective, batch: Batch | PairBatch, budget: Budget, ranks: Ranks
) -> Mapping[str, Tensor]:
    """Return the terms of a step as scalars; `terms["loss"].backward()` gives the exact gradients.

    Under DDP a term is this rank's share: the average over ranks is the value over the whole batch. In addition to the
    objective's terms there is `max_score`, the largest absolute score.
    """
    return score_step(encoder.head, objective, batch, embed(encoder, batch.tokens, budget, ranks), ranks)


def score_step(
    head: Any, objective: Objective, batch: Batch | PairBatch, representation: Representation, ranks: Ranks
) -> Mapping[str, Tensor]:
    """Return the terms of a step whose texts are embedded: scores and objective, in float32."""
    with torch.autocast(representation.values_TD.device.type, enabled=False):
        if isinstance(batch, PairBatch):
            outputs = _pair_outputs(head, batch, representation, ranks)
        else:
            outputs = _retrieval_outputs(head, batch, representation, ranks)
        views = [{**objective(view), "max_score": _max_score(view)} for view in outputs]
        terms = {name: torch.stack([view[name] for view in views]).mean() for name in views[0]}
    learned = None if isinstance(batch, PairBatch) else head.learned_temperature()
    return terms if learned is None else {**terms, "learned_temperature": learned.detach()}


def _max_score(outputs: PairOutputs) -> Tensor:
    scores = outputs.scores_QN if isinstance(outputs, RetrievalOutputs) else outputs.scores_P
    max_score: Tensor = torch.linalg.vector_norm(scores.detach(), torch.inf)
    return max_score


def _retrieval_outputs(head: Any, batch: Batch, representation: Representation, ranks: Ranks) -> Iterator[PairOutputs]:
    """Yield the outputs for every query with the documents of all ranks, once per view that the head is trained at."""
    queries, own = representation.split(len(batch.queries))
    documents, relation = _gather(own, batch.relation, ranks)
    device = representation.values_TD.device
    query_P, document_P, label_P, negative_QN = _pair_tensors(relation, len(queries), device)
    known = _known(relation.query_P, relation.label_P, device)
    score = _score(head)
    for viewed_queries, viewed_documents in head.views(queries, documents):
        scores_QN = score(viewed_queries, viewed_documents)
        yield RetrievalOutputs(
            scores_P=scores_QN[query_P, document_P],
            query_P=query_P,
            label_P=label_P,
            **known,
            teachers_P=_to_device(device, relation.teachers_P),
            ranks=ranks,
            step=batch.step,
            scores_QN=scores_QN,
            document_P=document_P,
            negative_QN=negative_QN,
            query_key_Q=relation.query_key_Q,
            score=score,
            queries=viewed_queries,
            documents=viewed_documents,
            normalised=head.normalised,
        )


def _score(head: Any) -> Callable[[Representation, Representation], Tensor]:
    """Return the head's score, over its learned temperature's ratio to the first one."""
    learned: Tensor | None = head.learned_temperature()
    if learned is None:
        return head.score  # type: ignore[no-any-return]
    ratio = learned / head.temperature
    return lambda queries, documents: head.score(queries, documents) / ratio


def _pair_outputs(head: Any, batch: PairBatch, representation: Representation, ranks: Ranks) -> Iterator[PairOutputs]:
    """Yield the pairs' scores, and for a pruner those of their tokens."""
    device = representation.values_TD.device
    shared = {
        "scores_P": head.scores(representation),
        "query_P": batch.query_P.to(device, non_blocking=True),
        "label_P": batch.label_P.to(device, non_blocking=True),
        **_known(batch.query_P, batch.label_P, device),
        "teachers_P": _to_device(device, batch.teachers_P),
        "ranks": ranks,
        "step": batch.step,
    }
    if head.kind == "pruner":
        token_logits = head.token_logits(representation)
        yield PruningOutputs(
            **shared,
            keep_T=token_logits.values_TD[:, 0],
            token_label_T=batch.token_label_T.to(device, non_blocking=True),
            pair_T=torch.repeat_interleave(token_logits.lengths_N).to(device, non_blocking=True),
        )
    else:
        yield PairOutputs(**shared)


def _known(query_P: Tensor, label_P: Tensor, device: torch.device) -> dict[str, Any]:
    """Return what objectives would have to wait for if the device computed it."""
    counts_Q = query_P.bincount()
    relevant_R = (label_P > 0).nonzero().squeeze(1)
    return {
        "relevant_R": relevant_R.to(device, non_blocking=True),
        "shape_QG": (counts_Q.numel(), int(counts_Q.max())),
    }


def _to_device(device: torch.device, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device, non_blocking=True) for name, value in values.items()}


def embed(encoder: Encoder, tokens: Tokens, budget: Budget, ranks: Ranks) -> Representation:
    """Embed texts with gradients, one micro-batch at a time, in the order of `tokens`."""
    groups = list(encoder.cut(tokens.lengths_N, budget.micro_batch))
    if budget.equal_passes:
        groups = _split_into(groups, ranks.most(len(groups)))
    lengths_N = encoder.head.vectors(tokens)
    parts, total = [], 0
    for chosen_M in groups:
        padded = encoder.pad(tokens, chosen_M)
        total += padded.tokens
        store = total <= budget.max_saved_tokens and not budget.equal_passes
        values_TD = encoder(padded) if store else replayed(encoder, padded)
        parts.append(Representation(values_TD, lengths_N[chosen_M]))
    order_M = torch.cat(groups)
    index_N = torch.empty_like(tokens.lengths_N).scatter_(0, order_M, torch.arange(order_M.numel()))
    return Representation.join(parts).take(index_N)


def _split_into(groups: list[Tensor], count: int) -> list[Tensor]:
    """Split groups of texts into `count` groups: halve the largest; if all are single texts, repeat the first."""
    groups = list(groups)
    while len(groups) < count:
        largest = max(range(len(groups)), key=lambda number: groups[number].numel())
        if groups[largest].numel() > 1:
            groups[largest : largest + 1] = groups[largest].tensor_split(2)
        else:
            groups.append(groups[0])
    return groups


def _gather(documents: Representation, relation: Relation, ranks: Ranks) -> tuple[Representation, Relation]:
    """Gather all ranks' documents without duplicates, and the relation in terms of them."""
    key_N, offset = ranks.gather_keys(relation.key_N)
    documents = ranks.gather(documents)
    distinct_M, index_N = torch.unique(key_N, return_inverse=True)
    if distinct_M.numel() < key_N.numel():
        first_M = torch.full_like(distinct_M, key_N.numel())
        first_M.scatter_reduce_(0, index_N, torch.arange(key_N.numel()), "amin")
        documents = documents.take(first_M)
        key_N = distinct_M
    else:
        index_N = torch.arange(key_N.numel())
    return documents, replace(relation, document_P=index_N[relation.document_P + offset], key_N=key_N)


def _pair_tensors(relation: Relation, queries: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (query_P, document_P, label_P, negative_QN) on `device`."""
    sorted_N, order_N = relation.key_N.sort()
    index_K = torch.searchsorted(sorted_N, relation.known_K).clamp_(max=sorted_N.numel() - 1)
    hit_K = sorted_N[index_K] == relation.known_K
    negative_QN = torch.ones(queries, sorted_N.numel(), dtype=torch.bool)
    negative_QN[relation.known_query_K[hit_K], order_N[index_K[hit_K]]] = False
    relevant = relation.label_P > 0
    negative_QN[relation.query_P[relevant], relation.document_P[relevant]] = False
    parts = (relation.query_P, relation.document_P, relation.label_P, negative_QN)
    return tuple(part.to(device, non_blocking=True) for part in parts)  # type: ignore[return-value]
