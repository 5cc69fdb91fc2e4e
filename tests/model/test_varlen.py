"""Packed texts against the same texts padded: hidden states, losses and gradients."""

from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from reasonir.data.batch import Tokens
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model import varlen
from reasonir.types import Text
from tests.helpers import batch_of, examples, gradients, largest_difference, load

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 400,
}
FAMILIES = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},  # counts positions from behind the padding token's
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},  # every other layer sees 8 tokens around
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "qwen3_sliding": {
        "num_key_value_heads": 1,
        "head_dim": 16,
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
    },
    "electra": {"embedding_size": 32},
}
LOOKS_AHEAD = {
    "gemma3_text": {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 12, "use_bidirectional_attention": True}
}
BIASED = {"mpnet": {}}  # adds biases between positions to attention's weights, by code of its own
HEADS = {"colbert": {"document_length": 60}, "biencoder": {"pooling": "mean"}, "cross_encoder": {}, "provence": {}}
PADDED = {"attention": "sdpa"}


@pytest.fixture(scope="module")
def checkpoint(bert, tmp_path_factory):
    """Makes a backbone's checkpoint of a family, with the tiny model's tokenizer."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    made = {}

    def make(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            tokenizer = AutoTokenizer.from_pretrained(bert)
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
            words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
            options = {**SMALL, **words, **(FAMILIES | BIASED | LOOKS_AHEAD)[family]}
            torch.manual_seed(1)
            model = AutoModel.from_config(AutoConfig.for_model(family.removesuffix("_sliding"), **options))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make


def step(encoder, budget, objective):
    """(loss, gradients) of one step."""
    encoder.zero_grad()
    loss = run_step(encoder, objective, batch_of(encoder, examples(9)), budget, Alone())["loss"]
    loss.backward()
    return loss.item(), gradients(encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_texts_get_the_hidden_states_of_padded_ones(checkpoint, family, record_property):
    encoder = load(checkpoint(family), "biencoder", pooling="mean")
    assert encoder.packs
    tokens = varlen.sample(900, 400)
    assert tokens.lengths_N.max() == 330
    chosen = torch.tensor([3, 0, 4, 1, 2])
    packed, padded = tokens.pad(chosen, packs=True), tokens.pad(chosen)
    actual, expected = (encoder._hidden(batch).flatten(0, 1)[packed.packing.flat_T] for batch in (packed, padded))
    record_property("difference of packed hidden states from padded ones", (actual - expected).abs().max().item())
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "head"), [*product(["bert", "modernbert", "qwen3"], HEADS), *product(FAMILIES, ["biencoder"])]
)
def test_packing_changes_neither_loss_nor_gradients(checkpoint, family, head, record_property):
    if family == "qwen3" and head in ("cross_encoder", "provence"):
        pytest.skip("not an encoder")
    objective = Bce() if head in ("cross_encoder", "provence") else CachedContrastive(0.5)
    padded = load(checkpoint(family), head, model=PADDED, **HEADS[head])
    expected = step(padded, Budget(10**9, 10**9), objective)
    for options in ({}, {"activation_checkpointing": True}):
        packed = load(checkpoint(family), head, model=options, **HEADS[head])
        for budget in (Budget(10**9, 10**9), Budget(300, 0)):
            loss, computed = step(packed, budget, objective)
            record_property("relative difference of packed losses, limit 2e-5", abs(loss / expected[0] - 1))
            record_property("difference of packed gradients, limit 5e-5", largest_difference(computed, expected[1]))
            assert loss == pytest.approx(expected[0], rel=2e-5)
            assert largest_difference(computed, expected[1]) < 5e-5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", [*FAMILIES, "gemma3_text"])
def test_padding_behind_causal_texts_needs_no_mask(checkpoint, monkeypatch, family, attention):
    """Kernels without a mask are faster and keep no bias of L x L; bidirectional models have to have one."""
    options = {"model": {"attention": attention}, "pooling": "mean"}
    masked, unmasked = (load(checkpoint(family), "biencoder", **options) for _ in range(2))
    masked._causal = False
    expected = step(masked, Budget(400, 400), CachedContrastive(0.5))
    calls = calls_of_sdpa(monkeypatch)
    loss, computed = step(unmasked, Budget(400, 400), CachedContrastive(0.5))
    assert loss == pytest.approx(expected[0], rel=2e-5)
    assert largest_difference(computed, expected[1]) < 5e-5
    if attention == "sdpa" and family != "qwen3_sliding":  # whose window is a mask
        assert any(call.masked for call in calls) == (family != "qwen3")


def test_tokens_that_nobody_attends_to_keep_the_mask(checkpoint):
    encoder = load(checkpoint("qwen3"), "colbert", model=PADDED, query_expansion=True, query_length=40)
    padded = encoder.head.tokenizer([Text("why"), Text("why does it rain")], "query").pad(torch.tensor([0, 1]))
    assert not padded.padding_only
    with torch.no_grad():
        shown, hidden = encoder._hidden(padded), encoder._hidden(padded._replace(padding_only=True))
    assert not torch.allclose(shown, hidden)


def test_no_padding_is_computed(checkpoint):
    encoder = load(checkpoint("bert"), "biencoder")
    batch = batch_of(encoder, examples(9))
    seen = []
    encoder.backbone.encoder.layer[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2].numel()))
    run_step(encoder, CachedContrastive(0.5), batch, Budget(150, 10**9), Alone())
    computed = seen[2:]  # behind the two passes that hold packed against padded texts
    assert len(computed) > 2
    assert max(computed) <= 150
    assert sum(computed) == batch.token_count


def test_adapters_and_bfloat16_train_packed(checkpoint):
    from reasonir.model.lora import LoRA

    losses = []
    for attention in ("sdpa", "varlen"):
        encoder = load(
            checkpoint("qwen3"), "biencoder", model={"attention": attention, "lora": LoRA(rank=4, dropout=0)}
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses.append(step(encoder, Budget(200, 300), CachedContrastive(0.5))[0])
            assert encoder.packs == (attention == "varlen")
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_backbone_that_does_not_ask_for_the_texts_is_padded_and_says_so(checkpoint, caplog):
    padded = step(load(checkpoint("bert"), "biencoder", model=PADDED), Budget(10**9, 10**9), CachedContrastive(0.5))
    encoder = load(checkpoint("bert"), "biencoder")
    encoder.backbone.config._attn_implementation = "sdpa"  # attends across texts, as one without the interface would
    assert not encoder.packs
    assert "Falling back to padding: BertModel over packed texts on cpu gives other hidden states" in caplog.text
    loss, computed = step(encoder, Budget(300, 0), CachedContrastive(0.5))
    assert loss == pytest.approx(padded[0], rel=2e-5)
    assert largest_difference(computed, padded[1]) < 5e-5


def test_a_backbone_without_fused_attention_loads_and_is_padded(checkpoint):
    loss, _ = step(load(checkpoint("mpnet"), "biencoder", model=PADDED), Budget(10**9, 10**9), CachedContrastive(0.5))
    encoder = load(checkpoint("mpnet"), "biencoder")
    assert not encoder.packs
    assert step(encoder, Budget(300, 0), CachedContrastive(0.5))[0] == pytest.approx(loss, rel=2e-5)


def test_wrong_hidden_states_are_found_out(checkpoint, monkeypatch, caplog):
    monkeypatch.setattr(varlen, "first_position", lambda backbone: 1)
    assert not load(checkpoint("bert"), "biencoder").packs
    assert "gives other hidden states than padded texts" in caplog.text


def test_rounding_of_16_bits_may_be_large_in_a_token_and_not_in_a_text():
    starts = torch.tensor([0, 3, 33])
    padded = torch.ones(33, 8)
    for tokens, difference, exact, agrees in (
        (slice(5, 6), 0.2, False, True),
        (slice(5, 6), 0.2, True, False),
        (slice(0, 3), 0.2, False, False),
        (slice(3, 33), 0.2, False, False),
        (slice(0, 33), 1e-4, True, True),
        (slice(0, 3), torch.nan, False, False),
    ):
        packed = padded.clone()
        packed[tokens] += difference
        assert varlen.agree(packed, padded, starts, exact=exact) is agrees


def test_tokens_that_nobody_attends_to_keep_the_padding():
    rows = [([1, 2, 3], [True] * 3, [True] * 3), ([1, 2, 3, 4], [True, True, True, False], [True] * 4)]
    tokens = Tokens.pack(rows)
    assert tokens.pad(torch.tensor([0, 1]), packs=True).packing is None
    assert Tokens.pack([rows[0]]).pad(torch.tensor([0]), packs=True).packing is None  # nothing is padded


def test_the_kernel_of_cuda_is_not_asked_for_dropout(checkpoint):
    bert, qwen = (load(checkpoint(family), "biencoder").backbone for family in ("bert", "qwen3"))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert varlen.trains_packed(bert, cpu)
    assert not varlen.trains_packed(bert, cuda)
    assert varlen.trains_packed(qwen, cuda)


T4, A100 = (7, 5), (8, 0)


class Call(NamedTuple):
    """Heads of the query and of the key, whether SDPA was told of groups, and whether it got a mask."""

    query: int
    key: int
    groups: bool
    masked: bool


def calls_of_sdpa(monkeypatch):
    """Every call of SDPA from now on."""
    calls, sdpa = [], varlen.scaled_dot_product_attention

    def recording(query, key, value, **options):
        assert key.shape == value.shape
        calls.append(Call(query.shape[1], key.shape[1], options["enable_gqa"], options["attn_mask"] is not None))
        return sdpa(query, key, value, **options)

    monkeypatch.setattr(varlen, "scaled_dot_product_attention", recording)
    return calls


@pytest.mark.parametrize(
    ("capability", "dtype", "options", "groups"),
    [
        (T4, torch.float16, {}, False),
        (T4, torch.float32, {}, False),
        (T4, torch.float32, {"autocast": torch.float16}, False),
        (T4, torch.bfloat16, {}, False),
        (A100, torch.bfloat16, {}, True),
        (A100, torch.float16, {}, True),
        (A100, torch.float32, {"autocast": torch.bfloat16}, True),  # as after norms, whose weights are float32
        (A100, torch.float32, {}, False),
        (A100, torch.bfloat16, {"masked": True}, False),
        (A100, torch.bfloat16, {"head": 512}, False),
        ((12, 0), torch.bfloat16, {}, True),
    ],
)
def test_kernels_that_read_no_shared_heads_get_one_per_query_head(monkeypatch, capability, dtype, options, groups):
    """What CUDA is asked for, on tensors without numbers: torch falls back to all L x L weights otherwise."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    calls, head = calls_of_sdpa(monkeypatch), options.get("head", 64)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: "autocast" in options)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: options["autocast"])
    with FakeTensorMode():
        query, key = (torch.empty(2, heads, 48, head, dtype=dtype, device="cuda") for heads in (4, 2))
        mask = torch.ones(2, 1, 48, 48, dtype=torch.bool, device="cuda") if "masked" in options else None
        attended, _ = varlen.attend(torch.nn.Module(), query, key, key, mask)
    assert attended.shape == (2, 48, 4, head)
    assert calls == [Call(4, 2 if groups else 4, groups, mask is not None)]


def test_repeated_heads_attend_as_shared_ones(monkeypatch):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 9, 8) for heads in (6, 2, 2))
    mask = torch.rand(2, 1, 9, 9) < 0.8
    mask |= torch.eye(9, dtype=torch.bool)
    for given in (None, mask):
        shared, _ = varlen.attend(torch.nn.Module(), query, key, value, given, is_causal=True)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(varlen, "_reads_groups", lambda query, mask: False)
            repeated, _ = varlen.attend(torch.nn.Module(), query, key, value, given, is_causal=True)
        torch.testing.assert_close(shared, repeated)


@pytest.mark.parametrize("attention", ["sdpa", "varlen"])
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_no_attention_of_a_backbone_goes_around_the_choice(checkpoint, monkeypatch, family, attention):
    """Also with `sdpa`, padded and unpadded, whose own implementation in transformers leaves the choice to torch."""
    calls = calls_of_sdpa(monkeypatch)
    monkeypatch.setattr(varlen, "_reads_groups", lambda query, mask: False)
    encoder = load(checkpoint(family), "biencoder", model={"attention": attention})
    step(encoder, Budget(300, 0), CachedContrastive(0.5))
    assert encoder.packs == (attention == "varlen")
    assert {(call.key, call.groups) for call in calls} == {(4, False)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("number_format", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_of_cuda_agrees(checkpoint, family, number_format, record_property):
    encoder = load(checkpoint(family), "biencoder", pooling="mean").cuda()
    for name in ("attention_probs_dropout_prob", "attention_dropout"):
        setattr(encoder.backbone.config, name, 0.0)
    padded = load(checkpoint(family), "biencoder", pooling="mean", model=PADDED).cuda()
    found = []
    for each in (encoder, padded):
        with torch.autocast("cuda", dtype=number_format):
            found.append(step(each, Budget(300, 0), CachedContrastive(0.5)))
            assert each.packs == (each is encoder)
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02)
    name = str(number_format).removeprefix("torch.")
    record_property(
        f"difference of the kernel's gradients in {name}, limit .05", largest_difference(found[0][1], found[1][1])
    )
    assert largest_difference(found[0][1], found[1][1]) < 0.05
