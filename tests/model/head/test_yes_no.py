"""The yes/no head against the whole language model, the published template, and its exports."""

from functools import wraps

import pytest
import torch
from safetensors import safe_open

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.loss.bce import Bce
from reasonir.loss.listwise import Listwise
from reasonir.loss.sum import Sum
from reasonir.model.export import export
from reasonir.model.head.yes_no import CHAT, INSTRUCTION, PLAIN, body
from reasonir.model.lora import LoRA
from reasonir.types import Pair, Text
from tests.helpers import SENTENCES, batch_of, examples, gradients, largest_difference, load

PAIRS = [
    Pair(Text("why does it rain"), Text("water falls")),
    Pair(Text("why does it rain?"), Text("warm air rises and cools " * 9)),
    Pair(Text("who repairs ovens", "find the trade"), Text("a mason " * 500)),
]
GOLDEN = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct"
    ' provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: What is the capital of China?\n<Document>: The capital of China is Beijing."
    "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
"""The input of the model card's own example."""


def whole_scores(folder, encoder, pairs, answers=("yes", "no")):
    """Yes minus no by all logits of the language model, texts padded on the left as its card has it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids, mask = left_padded(encoder, pairs, tokenizer.pad_token_id)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -1]
    yes, no = tokenizer.convert_tokens_to_ids(list(answers))
    return logits[:, yes] - logits[:, no]


@pytest.fixture
def base(tmp_path):
    """A language model without a chat, whose tokenizer begins texts with a token and words with their space."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    texts = [*SENTENCES, *["▁yes", "▁no", "yes", "no"] * 9, body(INSTRUCTION, "", "") + PLAIN.suffix]
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(tmp_path / "base")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        **sizes, vocab_size=400, num_hidden_layers=2, head_dim=16, max_position_embeddings=512, sliding_window=100
    )
    Gemma3ForCausalLM(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def left_padded(encoder, pairs, pad):
    tokens, _ = encoder.head.tokenizer(pairs)
    rows = tokens.ids_T.split(tokens.lengths_N.tolist())
    width = max(map(len, rows))
    ids = torch.stack([torch.cat([torch.full((width - len(row),), pad), row.long()]) for row in rows])
    return ids, torch.stack([(torch.arange(width) >= width - len(row)).long() for row in rows])


def test_the_template_is_the_published_one_byte_for_byte():
    text = body(INSTRUCTION, "What is the capital of China?", "The capital of China is Beijing.")
    assert (CHAT.prefix + text + CHAT.suffix).encode() == GOLDEN.encode()


def test_a_model_without_the_chat_gets_the_plain_template_and_answers_with_their_space(base, tmp_path):
    encoder = load(base, "yes_no").eval()
    tokenizer = encoder.head.tokenizer
    tokens, _ = tokenizer(PAIRS[:1])
    text = body(INSTRUCTION, PAIRS[0].query.text, PAIRS[0].document.text)
    assert tokenizer.tokenizer.decode(tokens.ids_T) == f"<bos>{text}\n<Relevant, yes or no>:"
    assert tokenizer.stamp()["template"] == "plain"
    assert tokenizer.tokenizer.convert_ids_to_tokens(list(encoder.head.answers)) == ["▁no", "▁yes"]
    scores = encoder.score_pairs(PAIRS[:2])
    assert torch.allclose(scores, whole_scores(base, encoder, PAIRS[:2], ("▁yes", "▁no")), atol=1e-5)
    export(encoder, tmp_path / "model")
    again = load(tmp_path / "model", "yes_no", **encoder.head.options()).eval()
    assert torch.allclose(again.score_pairs(PAIRS[:2]), scores, atol=1e-5)


@pytest.mark.parametrize("max_length", [None, 160])
def test_two_rows_score_as_all_logits_do(decoder, max_length):
    encoder = load(decoder, "yes_no", max_length=max_length).eval()
    expected = whole_scores(decoder, encoder, PAIRS)
    assert torch.allclose(encoder.score_pairs(PAIRS), expected, atol=1e-5)
    assert torch.allclose(encoder.score_pairs(PAIRS, budget=1), expected, atol=1e-5)
    assert encoder.score_pairs([]).tolist() == []


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_mixed_precision_does_not_round_the_answers(decoder, half):
    encoder = load(decoder, "yes_no").eval()
    padded = encoder.pad(encoder.head.tokenizer(PAIRS)[0], torch.arange(3))
    hidden = torch.randn(*padded.ids_NL.shape, encoder.head.rows_2H.shape[1])
    exact = encoder.head(hidden, padded)
    with torch.autocast("cpu", half):
        assert torch.equal(encoder.head(hidden, padded), exact)


def test_a_long_document_is_cut_before_the_suffix_and_nothing_else_is(decoder):
    encoder = load(decoder, "yes_no", max_length=160)
    tokenizer = encoder.head.tokenizer
    tokens, labels = tokenizer(PAIRS)
    first, _, cut = (ids.tolist() for ids in tokens.ids_T.split(tokens.lengths_N.tolist()))
    assert len(first) < len(cut) == 160
    for ids in (first, cut):
        assert tuple(ids[: len(tokenizer.prefix)]) == tokenizer.prefix
        assert tuple(ids[-len(tokenizer.suffix) :]) == tokenizer.suffix
    assert tokens.keep_T.nonzero().flatten().tolist() == (tokens.lengths_N.cumsum(0) - 1).tolist()
    assert labels.numel() == 0


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_next_to_a_long_query_documents_keep_their_share_and_the_template_is_whole(decoder, share):
    tokenizer = load(decoder, "yes_no", max_length=240, query_share=share).head.tokenizer
    long = "a mason repairs ovens and stoves " * 200
    pairs = [Pair(Text(long), Text(text)) for text in (long, "a mason", "copper conducts")]
    tokens, _ = tokenizer(pairs)
    whole, _ = tokenizer.whole()(pairs)
    texts = [tokenizer.tokenizer.decode(ids) for ids in torch.split(tokens.ids_T, tokens.lengths_N.tolist())]
    assert len(set(texts)) == 3
    for text in texts:
        parts = [
            text.index(part)
            for part in ("instruct [UNK] :", "query [UNK] :", "document [UNK] :", "<|im_start|> assistant")
        ]
        assert parts == sorted(parts)
    assert tokens.lengths_N.max() <= 240
    assert torch.allclose(whole.lengths_N - tokens.lengths_N, tokens.lost_N, atol=2, rtol=0)  # seams may join
    assert tokens.lost_N[1:].tolist() == tokens.lost_query_N[1:].tolist()
    texts_of_both = whole.lengths_N[0] - len(tokenizer([Pair(Text(""), Text(""))])[0].ids_T)
    kept_query = texts_of_both / 2 - tokens.lost_query_N[0]
    kept_document = texts_of_both / 2 - (tokens.lost_N[0] - tokens.lost_query_N[0])
    assert kept_query / (kept_query + kept_document) == pytest.approx(share, abs=0.03)


def test_a_querys_own_instruction_replaces_the_default(decoder):
    encoder = load(decoder, "yes_no", instruction="be strict")
    decode = encoder.head.tokenizer.tokenizer.decode
    tokens, _ = encoder.head.tokenizer(PAIRS[1:])
    texts = [decode(ids) for ids in tokens.ids_T.split(tokens.lengths_N.tolist())]
    assert "be strict" in texts[0]
    assert "find the trade" in texts[1]
    assert "be strict" not in texts[1]
    assert encoder.head.tokenizer.stamp()["instruction"] == "be strict"


def test_any_cut_gives_the_same_loss_and_gradients(decoder):
    encoder = load(decoder, "yes_no")
    objective = Sum({"bce": Bce(), "listwise": Listwise()}, {"listwise": 0.5})
    batch = batch_of(encoder, examples(7, negatives=2))
    assert batch.query_P.tolist() == [query for query in range(7) for _ in range(3)]
    assert batch.label_P.tolist() == [1.0, 0.0, 0.0] * 7
    steps = []
    for budget in (Budget(10**9, 10**9), Budget(10**9, 0), Budget(300, 700), Budget(1, 0)):
        encoder.zero_grad()
        loss = run_step(encoder, objective, batch, budget, Alone())["loss"]
        loss.backward()
        steps.append((loss.item(), gradients(encoder)))
    for loss, grads in steps[1:]:
        assert loss == pytest.approx(steps[0][0], rel=1e-5)
        assert largest_difference(grads, steps[0][1]) < 5e-5


def test_a_tied_embedding_and_the_answers_rows_stay_as_they_are(decoder):
    encoder = load(decoder, "yes_no")
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained
    assert not any("embed" in name or "rows" in name for name in trained)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_export_scores_the_same_in_transformers_and_in_cross_encoder(decoder, tmp_path, rank):
    from sentence_transformers import CrossEncoder

    encoder = load(decoder, "yes_no", model={"lora": LoRA(rank=rank)}).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name or (not rank and parameter.requires_grad):
                parameter.add_(0.02 * torch.randn_like(parameter))
    scores = encoder.score_pairs(PAIRS[:2])
    export(encoder, tmp_path / "model")
    assert torch.allclose(whole_scores(tmp_path / "model", encoder, PAIRS[:2]), scores, atol=1e-4)
    again = load(tmp_path / "model", "yes_no").eval()
    assert torch.allclose(again.score_pairs(PAIRS[:2]), scores, atol=1e-4)
    predicted = CrossEncoder(str(tmp_path / "model" / "cross_encoder"), device="cpu").predict(
        [
            (
                f"{CHAT.prefix}<Instruct>: {INSTRUCTION}\n<Query>: {p.query.text}\n",
                f"<Document>: {p.document.text}{CHAT.suffix}",
            )
            for p in PAIRS[:2]
        ],
        activation_fn=torch.nn.Identity(),
    )
    assert torch.allclose(torch.tensor(predicted), scores, atol=1e-4)


def test_an_export_is_checked_by_the_last_tokens_logits_alone(decoder, tmp_path, monkeypatch):
    """Those of all tokens of the checked pairs take gigabytes, with a vocabulary as large as Gemma's."""
    from transformers import Qwen3ForCausalLM

    forward, lengths = Qwen3ForCausalLM.forward, []

    @wraps(forward)
    def recorded(*args, **options):
        output = forward(*args, **options)
        lengths.append(output.logits.shape[1])
        return output

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", recorded)
    export(load(decoder, "yes_no"), tmp_path / "model")
    assert lengths == [1]


def test_other_models_and_answers_of_several_tokens_are_refused(bert, decoder):
    with pytest.raises(InputError, match="choose model=qwen_reranker, or another head"):
        load(bert, "yes_no")
    with pytest.raises(InputError, match=r"model.head.positive='perhaps so' isn't one token"):
        load(decoder, "yes_no", positive="perhaps so")
    with pytest.raises(InputError, match=r"leaves texts less than 25% of it, .*: set it to 123 or more"):
        load(decoder, "yes_no", max_length=20)


@pytest.mark.parametrize("model", [{}, {"lora": LoRA(rank=2)}])
def test_an_export_holds_tied_embeddings_once(decoder, tmp_path, model):
    export(load(decoder, "yes_no", model=model), tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
