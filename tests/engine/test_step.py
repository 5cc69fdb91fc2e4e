"""One step against the definition: however it is cut, stored or recomputed, loss and gradients are the same."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from reasonir.data.base import copy_key
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, embed, run_step
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.four_directions import FourDirections
from reasonir.loss.listwise import Listwise
from reasonir.loss.ranknet import Ranknet
from reasonir.loss.symmetric import Symmetric
from reasonir.types import Document, Example, Text
from tests.helpers import RETRIEVERS, batch_of, examples, gradients, largest_difference, load, plain_loss, set_dropout

SHORT = {"max_length": 48}
LENGTHS = dict.fromkeys(RETRIEVERS, SHORT) | {"colbert": {"query_length": 24, "document_length": 48}}
READS = [(head, name) for head in RETRIEVERS for name in ("bert", "qwen") if (head, name) != ("splade", "qwen")]
ALL = 10**9
INFO_NCE = CachedContrastive(0.5)


def step(encoder, batch, budget, *, objective=INFO_NCE):
    """Return (loss, gradients) of one step."""
    encoder.zero_grad()
    loss = run_step(encoder, objective, batch, budget, Alone())["loss"]
    loss.backward()
    return loss.item(), gradients(encoder)


@pytest.mark.parametrize(("head", "name"), READS)
def test_any_cut_gives_the_loss_and_gradients_of_the_definition(request, head, name):
    encoder = load(request.getfixturevalue(name), head, **LENGTHS[head])
    batch = batch_of(encoder, examples(9))
    encoder.zero_grad()
    reference = plain_loss(encoder, batch, 0.5)
    reference.backward()
    expected = gradients(encoder)
    for budget in (Budget(ALL, ALL), Budget(ALL, 0), Budget(300, 700), Budget(100, 0), Budget(1, 0), Budget(1, ALL)):
        loss, computed = step(encoder, batch, budget)
        assert loss == pytest.approx(reference.item(), rel=2e-5), budget
        assert largest_difference(computed, expected) < 5e-5, budget


OBJECTIVES = [
    *((head, CachedContrastive(0.5, hardness=0.3)) for head in RETRIEVERS),
    *((head, Symmetric(0.5)) for head in RETRIEVERS),
    *((head, FourDirections(0.5, hardness=0.3)) for head in RETRIEVERS if head != "colbert"),
]


@pytest.mark.parametrize(("head", "objective"), OBJECTIVES)
def test_contrastive_options_have_the_loss_and_gradients_of_their_definitions(bert, head, objective):
    """Some queries share a document, one is the copy of another, and one's text is another's document."""
    encoder = load(bert, head, **LENGTHS[head])
    rows = examples(6)
    rows[4] = replace(rows[4], query=rows[3].query.upper(), documents=(Document("c", "a copy's own document"),))
    rows[5] = replace(rows[5], documents=(*rows[5].documents, Document("q", rows[0].query, label=0.0)))
    batch = batch_of(encoder, rows)
    assert batch.relation.query_key_Q.unique().numel() == len(rows) - 1
    encoder.zero_grad()
    reference = plain_loss(encoder, batch, 0.5, hardness=objective.hardness, loss=type(objective))
    reference.backward()
    expected = gradients(encoder)
    for budget in (Budget(ALL, ALL), Budget(100, 0), Budget(150, 300)):
        loss, computed = step(encoder, batch, budget, objective=objective)
        assert loss == pytest.approx(reference.item(), rel=2e-5), budget
        assert largest_difference(computed, expected) < 5e-5, budget


@pytest.mark.parametrize("head", RETRIEVERS)
def test_a_learned_temperature_divides_the_scores_of_any_loss(bert, head):
    """At first the loss is that of a fixed one; the definition has the gradient of its logarithm."""
    encoder = load(bert, head, model={"learn_temperature": True}, temperature=0.25, **LENGTHS[head])
    batch = batch_of(encoder, examples(5, negatives=2))
    fixed, _ = step(load(bert, head, **LENGTHS[head]), batch, Budget(ALL, ALL))
    assert step(encoder, batch, Budget(ALL, ALL))[0] == pytest.approx(fixed, rel=1e-5)
    with torch.no_grad():
        encoder.head.log_temperature += 0.7
    encoder.zero_grad()
    reference = plain_loss(encoder, batch, 0.5 * encoder.head.log_temperature.exp() / 0.25)
    reference.backward()
    expected = gradients(encoder)
    loss, computed = step(encoder, batch, Budget(150, 300))
    assert loss == pytest.approx(reference.item(), rel=2e-5)
    assert largest_difference(computed, expected) < 5e-5
    assert computed["head.log_temperature"].abs() > 1e-3
    listwise = step(encoder, batch, Budget(ALL), objective=Listwise(temperature=0.5))[0]
    wider = Listwise(temperature=0.5 * math.exp(0.7))
    assert listwise == pytest.approx(step(load(bert, head, **LENGTHS[head]), batch, Budget(ALL), objective=wider)[0])


@pytest.mark.parametrize(("first", "least"), [(0.05, 0.01), (0.005, 0.005)])
def test_a_learned_temperature_stays_above_its_bound_and_comes_back(bert, first, least):
    encoder = load(bert, "biencoder", model={"learn_temperature": True}, temperature=first)
    with torch.no_grad():
        encoder.head.log_temperature -= 5
    terms = run_step(encoder, INFO_NCE, batch_of(encoder, examples(4)), Budget(ALL), Alone())
    assert terms["learned_temperature"].item() == pytest.approx(least)
    encoder.head.learned_temperature().backward()
    assert encoder.head.log_temperature.grad == 0
    (-encoder.head.learned_temperature()).backward()
    assert encoder.head.log_temperature.grad == pytest.approx(-least)


@pytest.mark.parametrize(("head", "name"), READS)
def test_dropout_is_replayed_at_equal_cuts(request, head, name):
    encoder = load(request.getfixturevalue(name), head, dropout=0.2, **LENGTHS[head])
    if name == "qwen":
        encoder.backbone.layers[0].register_forward_hook(lambda m, i, o: nn.functional.dropout(o, 0.2, m.training))
    batch = batch_of(encoder, examples(8))
    steps = []
    for budget in (Budget(200, ALL), Budget(200, 0), Budget(200, 500)):
        torch.manual_seed(11)
        steps.append(step(encoder, batch, budget))
    torch.manual_seed(12)
    other = step(encoder, batch, Budget(200, 0))
    assert steps[0][0] == steps[1][0] == steps[2][0] != other[0]
    assert largest_difference(steps[0][1], steps[1][1]) < 1e-6
    assert largest_difference(steps[0][1], steps[2][1]) < 1e-6


def test_recomputing_leaves_the_random_state_as_it_was(bert):
    encoder = load(bert, "colbert", dropout=0.1)
    batch = batch_of(encoder, examples(4))
    after = []
    for budget in (Budget(200, ALL), Budget(200, 0)):
        torch.manual_seed(1)
        step(encoder, batch, budget)
        after.append(torch.rand(3))
    assert torch.equal(*after)


def test_a_step_changes_neither_its_batch_nor_itself(bert):
    encoder = load(bert, "colbert")
    batch = batch_of(encoder, examples(5))
    first, second = step(encoder, batch, Budget(100)), step(encoder, batch, Budget(100))
    assert first[0] == second[0]
    assert largest_difference(first[1], second[1]) == 0


@pytest.mark.parametrize("objective", [Bce(), Listwise(), Ranknet()], ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("head", ["yes_no", "cross_encoder"])
def test_eight_batches_of_one_query_accumulate_to_one_of_eight(bert, decoder, head, objective):
    encoder = load(decoder if head == "yes_no" else bert, head)
    rows = examples(8, negatives=2, shared=False)
    encoder.zero_grad()
    run_step(encoder, objective, batch_of(encoder, rows), Budget(200), Alone())["loss"].backward()
    expected = gradients(encoder)
    encoder.zero_grad()
    for row in rows:
        (run_step(encoder, objective, batch_of(encoder, [row]), Budget(200), Alone())["loss"] / 8).backward()
    assert largest_difference(gradients(encoder), expected) < 5e-4


@pytest.mark.parametrize("scale", [1.0, 65536.0])
def test_a_scaled_loss_gives_gradients_scaled_once(bert, scale):
    encoder = load(bert, "colbert")
    batch = batch_of(encoder, examples(5))
    _, expected = step(encoder, batch, Budget(ALL, ALL))
    encoder.zero_grad()
    loss = run_step(encoder, CachedContrastive(0.5), batch, Budget(100), Alone())["loss"]
    (loss * scale).backward()
    assert largest_difference({n: g / scale for n, g in gradients(encoder).items()}, expected) < 1e-5


def test_two_halves_of_an_accumulation_are_one_step(bert):
    encoder = load(bert, "biencoder")
    batch = batch_of(encoder, examples(5))
    _, expected = step(encoder, batch, Budget(ALL, ALL))
    encoder.zero_grad()
    for _ in range(2):
        (run_step(encoder, CachedContrastive(0.5), batch, Budget(100), Alone())["loss"] / 2).backward()
    assert largest_difference(gradients(encoder), expected) < 1e-5


@pytest.mark.parametrize("head", RETRIEVERS)
def test_bfloat16_autocast_reaches_every_weight_and_keeps_scores_in_float32(bert, head):
    encoder = load(bert, head)
    batch = batch_of(encoder, examples(6))
    encoder.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = run_step(encoder, CachedContrastive(0.5), batch, Budget(ALL, ALL), Alone())["loss"]
    whole.backward()
    expected = gradients(encoder)
    encoder.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=True):
        cut = run_step(encoder, CachedContrastive(0.5), batch, Budget(ALL, 0), Alone())["loss"]
    cut.backward()
    computed = gradients(encoder)
    assert whole.dtype == torch.float32
    assert cut.item() == pytest.approx(whole.item(), rel=1e-5)
    assert computed.keys() == {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert largest_difference(computed, expected) < 1e-4


@pytest.mark.parametrize("head", RETRIEVERS)
def test_adapters_frozen_layers_and_activation_checkpointing_keep_the_gradients(bert, head):
    from reasonir.model.lora import LoRA

    options = {"lora": LoRA(rank=2, alpha=4, dropout=0.0, targets=["query", "value"])}
    for model in (options, {"freeze_layers": 1}, {"freeze_embeddings": True}):
        encoder = load(bert, head, model=model)
        again = load(bert, head, model={**model, "activation_checkpointing": True})
        again.load_state_dict(encoder.state_dict())
        batch = batch_of(encoder, examples(5))
        loss, expected = step(encoder, batch, Budget(ALL, ALL))
        recomputed, computed = step(again, batch, Budget(100, 0))
        assert recomputed == pytest.approx(loss, rel=1e-5)
        assert largest_difference(computed, expected) < 1e-5
        assert computed.keys() == {name for name, p in encoder.named_parameters() if p.requires_grad}
        assert all(value.abs().max() > 0 for name, value in computed.items() if "lora_B" in name)


def test_activation_checkpointing_replays_dropout(bert):
    encoder = load(bert, "colbert", dropout=0.3)
    again = load(bert, "colbert", dropout=0.3, model={"activation_checkpointing": True})
    batch = batch_of(encoder, examples(5))
    results = []
    for model in (encoder, again):
        torch.manual_seed(4)
        results.append(step(model, batch, Budget(200, 0)))
    assert results[0][0] == results[1][0]
    assert largest_difference(results[0][1], results[1][1]) < 1e-6


def test_evaluation_mode_gives_the_training_loss_without_graphs(bert):
    encoder = load(bert, "colbert")
    batch = batch_of(encoder, examples(5))
    loss, _ = step(encoder, batch, Budget(100))
    encoder.eval()
    with torch.no_grad():
        again = run_step(encoder, CachedContrastive(0.5), batch, Budget(100), Alone())["loss"]
    assert not again.requires_grad
    assert again.item() == pytest.approx(loss, rel=1e-6)


def test_punctuation_expansion_and_all_skipped_documents_are_counted_correctly(bert):
    """Vectors are dropped in the middle of documents, and kept for query tokens without attention."""
    encoder = load(bert, "colbert", query_length=16, query_expansion=True, document_prefix="")
    tokens = encoder.head.tokenizer([Text("a, b. c!")], "document")
    assert 0 < int(tokens.keep_T.sum()) < tokens.lengths_N.sum()
    queries = encoder.head.tokenizer([Text("why")], "query")
    assert queries.lengths_N.tolist() == [16]
    assert queries.keep_T.all()
    assert not queries.attend_T.all()
    together = embed(encoder, queries.join(tokens), Budget(ALL, ALL), Alone())
    alone = embed(encoder, tokens, Budget(1), Alone())
    torch.testing.assert_close(together.split(1)[1].values_TD, alone.values_TD, rtol=1e-4, atol=1e-5)


def test_known_positives_and_equal_texts_are_never_negatives(bert):
    """The first query's other positive, the second's copy of it, and a document equal to the query are left out."""
    encoder = load(bert, "colbert")
    copy = "bees dance"
    rows = [
        Example("a", "why do they dance", (Document("1", "to tell the way"), Document("2", copy))),
        Example("b", "what do bees do", (Document("3", copy), Document("4", "why do they dance", label=0.0))),
        Example("c", "what is copper", (Document("5", "a metal"), Document("6", "wind turns", label=0.0))),
    ]
    batch = batch_of(encoder, rows)
    assert len(batch.documents) == 5
    masked, _ = step(encoder, batch, Budget(ALL, ALL))
    assert masked == pytest.approx(plain_loss(encoder, batch, 0.5).item(), rel=1e-5)
    nothing = replace(
        batch.relation, known_K=batch.relation.known_K[:0], known_query_K=batch.relation.known_query_K[:0]
    )
    contrasted, _ = step(encoder, replace(batch, relation=nothing), Budget(ALL, ALL))
    first = batch.relation.known_K[batch.relation.known_query_K == 0]
    assert set(first.tolist()) == {copy_key(text) for text in ("why do they dance", "to tell the way", copy)}
    assert contrasted > masked + 0.01


def test_a_rank_with_less_text_runs_as_many_forward_passes(bert):
    """FSDP needs equal numbers of passes, whose results don't depend on it."""
    encoder = load(bert, "colbert")
    batch = batch_of(encoder, examples(3))
    assert encoder.packs  # its check runs passes that aren't counted here
    calls = []
    encoder.backbone.register_forward_hook(lambda *_: calls.append(1))

    class ManyPasses(Alone):
        def most(self, own):
            return 40

    with torch.no_grad():
        represented = embed(encoder, batch.queries, Budget(10_000, equal_passes=True), ManyPasses())
        assert len(calls) == 40
        expected = embed(encoder, batch.queries, Budget(10_000), Alone())
    torch.testing.assert_close(represented.values_TD, expected.values_TD, rtol=1e-4, atol=1e-5)
    assert represented.lengths_N.equal(expected.lengths_N)


def test_set_dropout_reaches_attention(bert):
    encoder = load(bert, "colbert")
    set_dropout(encoder, 0.5)
    assert encoder.backbone.encoder.layer[0].attention.self.dropout.p == 0.5
