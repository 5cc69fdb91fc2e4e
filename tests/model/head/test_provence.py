"""Pruner's head: labels by characters, rows, gradients, and both formats."""

import json

import pytest
import torch

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.loss.bce import Bce
from reasonir.loss.listwise import Listwise
from reasonir.loss.provence import ProvenceLoss
from reasonir.loss.sum import Sum
from reasonir.model.export import export
from reasonir.model.lora import LoRA
from reasonir.model.span_scoring import score_spans
from reasonir.types import Pair, Text
from tests.helpers import batch_of, examples, gradients, largest_difference, load
from tests.rows import write_rows

TEXTS = {
    "newline": ("Warm air rises.\nIt cools.\nRain falls.", [(0, 15), (16, 25), (26, 37)]),
    "double space": ("Warm air rises.  It cools.", [(0, 15), (17, 26)]),
    "no space": ("Warm air rises.It cools.", [(0, 15), (15, 24)]),
    "heading": ("Rain\n\nWarm air rises. It cools.", [(6, 21), (22, 31)]),
    "japanese": ("梅雨は雨季の一種。東アジアでみられる。", [(0, 9), (9, 19)]),
    "truncated": ("Warm air rises. " * 9 + "It cools.", [(0, 143), (144, 153)]),
    "special": ("Rain [SEP] warm air. It cools.", [(0, 20), (21, 30)]),
}
PAIRS = [
    Pair(Text("why does it rain"), Text(text), tuple(spans), (1.0,) * len(spans)) for text, spans in TEXTS.values()
]


@pytest.fixture(scope="module")
def tokenizers(bert):
    """The tiny model's word pieces, and a byte-level one whose tokens begin with the space before them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["[CLS]", "[SEP]"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator([text for text, _ in TEXTS.values()] * 5, trainer)
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    wordpiece = load(bert, "provence").head.tokenizer.tokenizer
    return {"wordpiece": wordpiece, "byte-level": PreTrainedTokenizerFast(tokenizer_object=inner)}


@pytest.mark.parametrize("kind", ["wordpiece", "byte-level"])
@pytest.mark.parametrize("case", TEXTS)
def test_a_tokens_label_is_that_of_the_span_that_holds_most_of_it(tokenizers, kind, case):
    from reasonir.model.head.cross_encoder import PairEncoding
    from reasonir.model.prompts import Prompts

    text, spans = TEXTS[case]
    labels = tuple(float(number % 2 == 0) for number in range(len(spans)))
    encoding = PairEncoding(tokenizers[kind], Prompts(document="doc: "), 40, token_labels=True)
    tokens, label_T = encoding([Pair(Text("why does it rain"), Text(text), tuple(spans), labels)])
    encoded = tokenizers[kind](
        "why does it rain",
        "doc: " + text,
        truncation="only_second",
        max_length=40,
        return_offsets_mapping=True,
        split_special_tokens=True,
    )
    assert tokens.ids_T.tolist() == encoded["input_ids"]
    expected, document = [], []
    for index, ((start, end), side) in enumerate(zip(encoded["offset_mapping"], encoded.sequence_ids(0), strict=True)):
        if side != 1:
            continue
        document.append(index)
        printed = [i - 5 for i in range(start, end) if not ("doc: " + text)[i].isspace()] or range(start - 5, end - 5)
        shares = [sum(low <= i < high for i in printed) / len(printed) for low, high in spans]
        best = max(range(len(spans)), key=lambda number: shares[number])
        expected.append(labels[best] if shares[best] >= 0.5 else float("nan"))
    assert tokens.keep_T.nonzero().flatten().tolist() == [document[0] - 1, *document]
    assert torch.equal(label_T.nan_to_num(-1), torch.tensor(expected).nan_to_num(-1))
    assert {0.0, 1.0} & set(label_T.tolist())


def test_the_rows_of_a_pair_are_its_score_and_its_documents_tokens(bert):
    encoder = load(bert, "provence", max_length=60).eval()
    tokens, labels = encoder.head.tokenizer(PAIRS)
    representation = encoder.represent(tokens, budget=100)
    token_logits = encoder.head.token_logits(representation)
    assert token_logits.lengths_N.tolist() == (tokens.kept_N - 1).tolist()
    assert len(token_logits.values_TD) == len(labels)
    for number, pair in enumerate(PAIRS):
        (alone, _) = encoder.head.tokenizer([pair])
        hidden = encoder.backbone(
            input_ids=alone.ids_T[None].long(), **encoder.head.inputs(alone.pad(torch.tensor([0])))
        )
        expected = encoder.head.keep(hidden[0][0, alone.keep_T][1:])  # without the score's row
        own = representation.take(torch.tensor([number]))
        assert torch.allclose(encoder.head.token_logits(own).values_TD, expected, atol=1e-5)
        assert torch.allclose(encoder.head.scores(own), encoder.score_pairs([pair]), atol=1e-5)


@pytest.mark.parametrize("average", ["token", "document"])
def test_any_cut_gives_the_same_loss_and_gradients(bert, average):
    encoder = load(bert, "provence")
    objective = ProvenceLoss(Sum({"bce": Bce(), "listwise": Listwise()}), 0.5, average=average)
    batch = batch_of(encoder, examples(7, negatives=2))
    assert set(batch.token_label_T.tolist()) == {0.0, 1.0}
    steps = []
    for budget in (Budget(10**9, 10**9), Budget(10**9, 0), Budget(300, 700), Budget(1, 0)):
        encoder.zero_grad()
        loss = run_step(encoder, objective, batch, budget, Alone())["loss"]
        loss.backward()
        steps.append((loss.item(), gradients(encoder)))
    assert any("keep" in name for name in steps[0][1])
    assert all(grad.abs().max() > 0 for name, grad in steps[0][1].items() if "keep" in name or "classifier" in name)
    for loss, grads in steps[1:]:
        assert loss == pytest.approx(steps[0][0], rel=1e-5)
        assert largest_difference(grads, steps[0][1]) < 5e-5


def test_a_few_rows_are_memorised(bert, tmp_path):
    from reasonir.data.files.context_rows import read_examples
    from reasonir.eval.stats.pruning_metrics import Sentences

    rows = list(read_examples(str(write_rows(tmp_path / "rows.jsonl", 8)), "train"))
    encoder = load(bert, "provence")
    pairs = [Pair(Text(row.query), Text(d.text), d.spans) for row in rows for d in row.documents]
    batch = batch_of(encoder, rows)
    optimiser = torch.optim.Adam(encoder.parameters(), 2e-3)
    for _ in range(100):
        optimiser.zero_grad()
        run_step(encoder, ProvenceLoss(ranking_weight=1.0), batch, Budget(10**9, 10**9), Alone())["loss"].backward()
        optimiser.step()
    results = score_spans(encoder, pairs)
    keep = torch.tensor([value for scores in results for value in scores.keep]).numpy()
    figures = Sentences.of(rows).figures(keep > 0.5)
    assert figures["f2"] > 0.85  # keeping everything comes to 0.5
    assert 0.7 < figures["compression"] < 0.95
    relevant = [d.label > 0 for row in rows for d in row.documents]
    assert [scores.score > 0 for scores in results] == relevant


def test_bfloat16_autocast_reaches_the_backbone_and_leaves_the_rows_in_float32(bert):
    encoder = load(bert, "provence")
    tokens, _ = encoder.head.tokenizer(PAIRS)
    with torch.autocast("cpu", torch.bfloat16):
        representation = encoder.represent(tokens)
    exact = encoder.represent(tokens)
    assert representation.values_TD.dtype == torch.float32
    assert 0 < (representation.values_TD - exact.values_TD).abs().max() < 0.05


@pytest.mark.parametrize("rank", [0, 4])
def test_the_export_ranks_in_transformers_and_prunes_here_as_before(bert, tmp_path, rank):
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    encoder = load(bert, "provence", model={"lora": LoRA(rank=rank)}).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    tokens, _ = encoder.head.tokenizer(PAIRS)
    expected = encoder.represent(tokens)
    export(encoder, tmp_path / "model")
    again = load(tmp_path / "model", "provence").eval()
    assert torch.allclose(again.represent(tokens).values_TD, expected.values_TD, atol=1e-5)
    logits = load_file(tmp_path / "model" / "pruning_head.safetensors")
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "pruning_head.classifier.weight": (2, 64),
        "pruning_head.classifier.bias": (2,),
    }
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    inputs = encoder.head.tokenizer.tokenizer(
        [pair.query.text for pair in PAIRS],
        [pair.document.text for pair in PAIRS],
        padding=True,
        return_tensors="pt",
        split_special_tokens=True,
    )
    assert torch.allclose(model(**inputs).logits[:, 0], encoder.head.scores(expected), atol=1e-5)


def test_a_published_checkpoint_of_one_file_is_read(bert, tmp_path):
    """OpenProvence's layout: both parts in model.safetensors, the classifier's configuration within another."""
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = AutoConfig.from_pretrained(bert, num_labels=1)
    torch.manual_seed(4)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    logits = torch.nn.Linear(64, 2)
    weights = {f"ranking_model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    weights |= {f"pruning_head.classifier.{name}": value for name, value in logits.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    stated = {"model_type": "open_provence", "base_model_config": config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    encoder = load(tmp_path, "provence").eval()
    tokens, _ = encoder.head.tokenizer(PAIRS[:1])
    representation = encoder.represent(tokens)
    inputs = encoder.head.tokenizer.tokenizer(PAIRS[0].query.text, PAIRS[0].document.text, return_tensors="pt")
    output = model(**inputs, output_hidden_states=True)
    assert torch.allclose(encoder.head.scores(representation), output.logits[:, 0], atol=1e-5)
    both = logits(output.hidden_states[-1][0, tokens.keep_T][1:])
    assert torch.allclose(encoder.head.token_logits(representation).values_TD[:, 0], both[:, 1] - both[:, 0], atol=1e-5)


def test_a_layer_of_another_size_is_refused(bert, tmp_path):
    from safetensors.torch import save_file

    export(load(bert, "provence"), tmp_path)
    wrong = {"pruning_head.classifier.weight": torch.zeros(2, 8), "pruning_head.classifier.bias": torch.zeros(2)}
    save_file(wrong, tmp_path / "pruning_head.safetensors")
    (tmp_path / "reasonir.json").unlink()
    with pytest.raises(InputError, match=r"has shape \(2, 8\), this model needs \(2, 64\)"):
        load(tmp_path, "provence")
