"""Cross-encoders against transformers' own scores, for every kind of classifier."""

import logging

import pytest
import torch

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.loss.bce import Bce
from reasonir.model.export import export
from reasonir.model.head.cross_encoder import CrossEncoder
from reasonir.model.head.provence import Provence
from reasonir.model.lora import LoRA
from reasonir.types import Pair, Text
from tests.helpers import batch_of, examples, gradients, largest_difference, load

PAIRS = [
    Pair(Text("why does it rain"), Text("water falls")),
    Pair(Text("why does it rain?"), Text("warm air rises and cools " * 9)),
    Pair(Text("who repairs ovens"), Text("a mason [SEP] " * 500)),
    Pair(Text("a"), Text("")),
]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 140,
}
FAMILIES = {
    "bert": {"type_vocab_size": 2},  # a pooler in the backbone, token types
    "roberta": {"type_vocab_size": 1, "pad_token_id": 1},  # a classification head of its own
    "modernbert": {"classifier_pooling": "mean", "pad_token_id": 3, "global_attn_every_n_layers": 2},
    "deberta-v2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": {"embedding_size": 32},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 3},  # scores at the last token
}


@pytest.fixture(scope="module")
def classifier(bert, tmp_path_factory):
    """Makes a classifier's checkpoint of a family, with the tiny model's tokenizer."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    def make(family, labels=1, **more):
        folder = tmp_path_factory.mktemp(family)
        tokenizer = AutoTokenizer.from_pretrained(bert)
        if family in ("modernbert", "roberta", "qwen3"):
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        options = {**SMALL, "vocab_size": len(tokenizer), "num_labels": labels, **FAMILIES.get(family, {}), **more}
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **options))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


@torch.no_grad()
def transformers_scores(folder, pairs, length):
    """What transformers itself scores, one pair at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return torch.stack(
        [
            model(
                **tokenizer(
                    [pair.query.text],
                    [pair.document.text],
                    truncation="longest_first",
                    max_length=length,
                    return_tensors="pt",
                    split_special_tokens=True,
                )
            ).logits[0, 0]
            for pair in pairs
        ]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_an_untouched_classifier_scores_as_transformers_does(classifier, family):
    folder = classifier(family)
    attention = "eager" if family == "deberta-v2" else "sdpa"
    encoder = load(folder, "cross_encoder", max_length=100, model={"attention": attention}).eval()
    expected = transformers_scores(folder, PAIRS, 100)
    assert expected.std() > 1e-3
    assert torch.allclose(encoder.score_pairs(PAIRS), expected, atol=1e-5)
    assert torch.allclose(encoder.score_pairs(PAIRS, budget=1), expected, atol=1e-5)


def test_of_several_labels_the_first_is_the_score(classifier):
    folder = classifier("bert", labels=3)
    encoder = load(folder, "cross_encoder", max_length=100).eval()
    assert torch.allclose(encoder.score_pairs(PAIRS), transformers_scores(folder, PAIRS, 100), atol=1e-5)


LONG = "water " * 60


@pytest.mark.parametrize(
    ("query", "document", "kept", "lost", "lost_query"),
    [
        ("water water", LONG, (2, 19), 41, 0),
        (LONG, "water water", (19, 2), 41, 41),
        (LONG, LONG, (10, 11), 99, 50),
        (LONG + "water", LONG, (11, 10), 100, 50),
        ("water water", "water", (2, 1), 0, 0),
    ],
)
def test_the_longer_side_of_a_pair_is_truncated_and_lost_tokens_are_counted(
    bert, query, document, kept, lost, lost_query
):
    encoder = load(bert, "cross_encoder", max_length=24)
    tokens, _ = encoder.head.tokenizer([Pair(Text(query), Text(document))])
    text = encoder.head.tokenizer.tokenizer.decode(tokens.ids_T)
    sides = [len(side.split()) for side in text.removeprefix("[CLS]").split("[SEP]")[:2]]
    assert sides == list(kept)
    assert text.endswith("[SEP]")
    assert (tokens.lost_N.item(), tokens.lost_query_N.item()) == (lost, lost_query)


def test_a_query_may_have_another_share(bert):
    encoder = load(bert, "cross_encoder", max_length=24, query_share=0.25)
    tokens, _ = encoder.head.tokenizer([Pair(Text(LONG), Text(LONG))])
    assert tokens.lost_query_N.item() == 60 - 5
    assert encoder.head.tokenizer.stamp()["query_share"] == 0.25
    for share in (0, 1.0, -1):
        with pytest.raises(InputError, match=rf"head.query_share={share}: give a number above 0, below 1"):
            load(bert, "cross_encoder", query_share=share)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_any_cut_gives_the_same_loss_and_gradients(classifier, family):
    encoder = load(classifier(family), "cross_encoder")
    batch = batch_of(encoder, examples(7, negatives=2))
    steps = []
    for budget in (Budget(10**9, 10**9), Budget(300, 700), Budget(1, 0)):
        encoder.zero_grad()
        loss = run_step(encoder, Bce(), batch, budget, Alone())["loss"]
        loss.backward()
        steps.append((loss.item(), gradients(encoder)))
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    unused = {name for name in trained if "embeddings" not in name and name not in steps[0][1]}
    assert not unused
    for loss, grads in steps[1:]:
        assert loss == pytest.approx(steps[0][0], rel=1e-5)
        assert largest_difference(grads, steps[0][1]) < 5e-5


@pytest.mark.parametrize("rank", [0, 4])
def test_the_export_scores_the_same_in_transformers_and_here(classifier, tmp_path, rank):
    from sentence_transformers import CrossEncoder as SentenceCrossEncoder

    encoder = load(classifier("bert"), "cross_encoder", model={"lora": LoRA(rank=rank)}, max_length=100).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    scores = encoder.score_pairs(PAIRS)
    export(encoder, tmp_path / "model")
    assert torch.equal(encoder.score_pairs(PAIRS), scores)
    assert torch.allclose(transformers_scores(tmp_path / "model", PAIRS, 100), scores, atol=1e-5)
    again = load(tmp_path / "model", "cross_encoder", max_length=100).eval()
    assert torch.allclose(again.score_pairs(PAIRS), scores, atol=1e-5)
    predicted = SentenceCrossEncoder(str(tmp_path / "model"), device="cpu", max_length=100).predict(
        [(pair.query.text, pair.document.text) for pair in PAIRS], activation_fn=torch.nn.Identity()
    )
    alike = torch.tensor(predicted).isclose(scores, atol=1e-5)
    assert alike.tolist() == [True, True, False, True]  # sentence-transformers parses "[SEP]" in a text


def test_a_plain_encoder_gets_a_new_layer_with_a_warning(bert, caplog):
    with caplog.at_level(logging.WARNING):
        first, again, other = (load(bert, "cross_encoder", seed=seed).eval() for seed in (1, 1, 2))
    assert "a new one is initialised and has to be trained" in caplog.text
    scores = [encoder.score_pairs(PAIRS) for encoder in (first, again, other)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


def test_a_classifier_that_scores_by_more_than_hidden_states_is_refused(classifier):
    """ALBERT's backbone ends in an activation of its own."""
    with pytest.raises(InputError, match="AlbertForSequenceClassification needs more than its backbone"):
        load(classifier("albert", embedding_size=32), "cross_encoder")


def test_impossible_lengths_are_refused(bert):
    with pytest.raises(InputError, match=r"model.head.max_length=9999 is more than this model can read"):
        load(bert, "cross_encoder", max_length=9999)
    with pytest.raises(InputError, match=r"max_length=10 leaves no room for a pair: set it to 19"):
        load(bert, "cross_encoder", max_length=10)


@pytest.mark.parametrize("family", ["t5", "bart", "mbart", "mt5"])
@pytest.mark.parametrize("head", [CrossEncoder, Provence])
def test_encoders_with_a_decoder_are_refused_by_their_configuration(tmp_path, family, head):
    from transformers import AutoConfig

    AutoConfig.for_model(family).save_pretrained(tmp_path)
    reason = head.unusable(tmp_path, {})
    assert f"model/head={head.name}: {tmp_path} is an encoder with a decoder ({family})" in reason
    assert reason.endswith("choose another checkpoint, or model/head=biencoder or colbert")


def test_a_model_without_a_classifier_in_transformers_is_refused(tmp_path):
    from transformers import AutoConfig

    AutoConfig.for_model("fuyu").save_pretrained(tmp_path)
    assert "has no classifier in transformers (fuyu)" in CrossEncoder.unusable(tmp_path, {})
