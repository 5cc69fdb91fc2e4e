"""Whole optimiser steps of every composition on the invented device: nothing waits, moves or changes its format.

Each trace is a training by Lightning's Trainer, as on a CUDA card of its profile: batch to device, forward pass,
objective, backward pass, clipping, optimiser. Loss and clipped gradients are those of the CPU in float32.
"""

import json
from contextlib import nullcontext
from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback
from torch.utils.data import DataLoader

from reasonir.cli.configuration import build
from reasonir.config import CONF
from reasonir.data.batch import Batch
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware
from reasonir.invented.watch import Watched
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model.lora import LoRA
from reasonir.training.module import RetrieverModule
from reasonir.training.optim import Optim
from reasonir.training.options import TrainerOptions
from reasonir.training.trainer import build_trainer
from reasonir.utils.devices import INVENTED
from tests.conf.test_conf import OPTIONS
from tests.conf.test_conf import chosen as overrides
from tests.helpers import HEADS, batch_of, examples, load
from tests.running import SHORTER, run
from tests.scenarios.test_heads_and_losses import FITS, chosen

PRECISIONS = {"32-true": 1e-4, "16-mixed": 0.15, "bf16-mixed": 0.3}
"""How far gradients may be from those in float32, as a share of their length: most for (std - 1)^2 near its minimum."""
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 300,
}
ENCODERS = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2},
    "mpnet": {},
}
GROUPED = {"num_key_value_heads": 1, "head_dim": 16}
DECODERS = {
    "qwen3": GROUPED,
    "gemma3_text": {
        **GROUPED,
        "use_bidirectional_attention": True,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
ANSWERING = {
    "qwen3": GROUPED,
    "gemma3_text": {**GROUPED, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
}
CLASSIFIERS = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "pad_token_id": 1},
    "modernbert": {"classifier_pooling": "mean", "global_attn_every_n_layers": 2},
    "deberta-v2": {"type_vocab_size": 0, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": {"embedding_size": 32},
}
READERS = {
    "colbert": ENCODERS | DECODERS,
    "biencoder": ENCODERS | DECODERS,
    "gaussian": ENCODERS | DECODERS,
    "splade": ENCODERS,
    "cross_encoder": {**CLASSIFIERS, "qwen3": GROUPED},
    "provence": CLASSIFIERS,
    "yes_no": ANSWERING,
}
LEARNING = {"model": {"learn_temperature": True}, "steps": 2}
RECOMPUTING = {"model": {"activation_checkpointing": True}}
WAYS = (
    {},
    {"budget": Budget(120, 0)},
    {"budget": Budget(120, 200), "accumulate": 2},
    {"model": {"attention": "sdpa"}, "steps": 2},
    {"model": {"attention": "sdpa"}, "budget": Budget(120, 0)},
    {"model": {"lora": LoRA(rank=4, dropout=0)}},
    RECOMPUTING,
    {"model": {"freeze_layers": 1, "freeze_embeddings": True}},
    {"optimiser": "adafactor", "steps": 2},
    LEARNING,
)
"""Ways to take a step: packed or padded, kept or recomputed, accumulated, adapters, layers recomputed or frozen."""


class Recorded(RetrieverModule):
    """Module that keeps the loss and the clipped gradients of each step, and the memory in use after it."""

    def configure_gradient_clipping(self, *args, **kwargs):
        """Keep copies."""
        super().configure_gradient_clipping(*args, **kwargs)
        device, self.kept = self.trainer.device, getattr(self, "kept", [])
        read, device.on_read = device.on_read, lambda name: None
        try:
            loss = float(torch.stack([terms["loss"] for terms in self.terms]).mean())
            gradients = {name: p.grad.cpu() for name, p in self.encoder.named_parameters() if p.grad is not None}
            assert {value.dtype for terms in self.terms for value in terms.values()} == {torch.float32}
        finally:
            device.on_read = read
        self.kept.append((loss, gradients))
        self.terms = []


class States(Callback):
    """Asserts the number formats of what the optimiser keeps."""

    def on_train_batch_end(self, trainer, module, *_):
        """Look at every state."""
        states = [value for each in trainer.optimizers[0].state.values() for value in each.values()]
        tensors = [value for value in states if isinstance(value, torch.Tensor)]
        assert {value.dtype for value in tensors} <= {torch.float32}
        assert {value.device.type for value in tensors if value.dim()} <= {trainer.strategy.root_device.type}


def train(
    folder,
    head,
    objective,
    precision,
    *,
    on,
    model=None,
    budget=None,
    accumulate=1,
    optimiser="adamw",
    steps=1,
    callbacks=(),
    **options,
):
    """(loss and gradients of each step, the device) of a training on the CPU or the invented device."""
    traced = on == INVENTED
    hardware = Hardware("t4" if traced else "cpu", "cuda" if traced else "cpu", precision=precision, traced=traced)
    encoder = load(folder, head, model=model, **options)
    module = Recorded(
        encoder, objective, Optim(optimiser, lr=1e-4), budget or Budget(10**6, 10**6), steps=steps, seed=1
    )
    module.transfer_batch_to_device = lambda batch, device, number: batch  # the engine sends what it needs
    batches = [batch_of(encoder, examples(5 + step, negatives=2), step=step) for step in range(steps * accumulate)]
    with Watched(precision) if traced else nullcontext() as device:
        trainer = build_trainer(
            TrainerOptions(accumulate_grad_batches=accumulate),
            hardware.resolve(),
            logger=False,
            callbacks=[States(), *callbacks],
            default_root_dir=str(folder),
        )
        if traced and precision == "16-mixed":
            trainer.precision_plugin.scaler._init_scale = 2.0**8  # nothing overflows, so that no step is skipped
        trainer.device = device or SimpleNamespace(on_read=None)
        encoder.to(hardware.torch_device)
        trainer.fit(module, DataLoader(batches, batch_size=None))
    return module.kept, device


NOTHING = 1e-5
"""Length of gradients that are rounding alone: some losses are at their minimum here."""


def apart(first, second):
    """Distance of two sets of gradients as a share of the second's length."""
    assert first.keys() == second.keys()
    one, other = (torch.cat([each[name].flatten().double() for name in second]) for each in (first, second))
    return float((one - other).norm() / other.norm().clamp(min=NOTHING))


def agrees(folder, head, objective, precision, **ways):
    """Trace a composition, and hold it against the CPU's numbers in float32."""
    expected, _ = train(folder, head, objective, "32-true", on="cpu", **ways)
    actual, device = train(folder, head, objective, precision, on=INVENTED, **ways)
    assert not device.faults, "\n".join(device.faults)
    assert len(actual) == len(expected)
    for (loss, gradients), (true_loss, true_gradients) in zip(actual, expected, strict=True):
        assert loss == pytest.approx(true_loss, rel=PRECISIONS[precision], abs=PRECISIONS[precision])
        assert apart(gradients, true_gradients) < PRECISIONS[precision]


@pytest.fixture(scope="module")
def checkpoint(bert, decoder, tmp_path_factory):
    """Makes a checkpoint of a family, as a backbone, a classifier or a language model that answers yes or no."""
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    made = {}

    def make(family, head):
        kind = head if head in ("yes_no", "cross_encoder", "provence") else "backbone"
        classes = {"yes_no": AutoModelForCausalLM, "backbone": AutoModel}
        if (family, kind) not in made:
            folder = tmp_path_factory.mktemp(family)
            tokenizer = AutoTokenizer.from_pretrained(decoder if head == "yes_no" else bert)
            if family != "bert" and head != "yes_no":
                tokenizer.model_input_names = ["input_ids", "attention_mask"]
            words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
            config = AutoConfig.for_model(family, **SMALL | words | READERS[head][family])
            torch.manual_seed(1)
            model = classes.get(kind, AutoModelForSequenceClassification).from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[family, kind] = folder
        return made[family, kind]

    return make


def compositions():
    """Every head, loss and family that fit, with precisions and ways to take a step in turn."""
    turns = zip(cycle(PRECISIONS), cycle(WAYS), strict=False)
    for head, families in READERS.items():
        for family in families:
            for loss in sorted(FITS[head]):
                precision, way = next(turns)
                if family == "mpnet" and way is RECOMPUTING:
                    way = {}  # transformers' own can't
                if HEADS[head].reads_pairs and way is LEARNING:
                    way = {}  # nothing to learn
                yield pytest.param(head, family, loss, precision, way, id=f"{head}-{family}-{loss}-{precision}")
        next(turns)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "family", "loss", "precision", "way"), compositions())
def test_every_head_loss_and_backbone_takes_its_steps_on_the_device(
    checkpoint, composed, head, family, loss, precision, way
):
    objective = build(composed("train", *chosen(head, loss)).loss)
    agrees(checkpoint(family, head), head, objective, precision, **way)


LIKE = {
    "google/embeddinggemma-300m": "gemma3_text",
    "Alibaba-NLP/gte-reranker-modernbert-base": "modernbert",
    "hotchpotch/japanese-reranker-base-v2": "modernbert",
    "hotchpotch/japanese-reranker-xsmall-v2": "modernbert",
    "cl-nagoya/ruri-v3-reranker-310m": "modernbert",
    "lightonai/GTE-ModernColBERT-v1": "modernbert",
    "sentence-transformers/all-MiniLM-L6-v2": "bert",
    "sentence-transformers/all-mpnet-base-v2": "mpnet",
    "Qwen/Qwen3-Embedding-0.6B": "qwen3",
    "Qwen/Qwen3-Reranker-0.6B": "qwen3",
    "Qwen/Qwen3-Reranker-4B": "qwen3",
}
"""Families of the checkpoints that conf names, which small random weights take the place of."""
CARDS = ("t4", "a100", "a100 hardware.precision=32-true")
GROUPS = ("model", "model/head", "loss", "hardware", "index", "experiment")


def options_of_conf():
    """Every option of the groups that change a step, on cards of every precision."""
    for group, option in OPTIONS:
        if group not in GROUPS or (group, option) in (("hardware", "cpu"), ("hardware", "mps"), ("index", "bm25")):
            continue
        for card in [option] if group == "hardware" else CARDS:
            yield group, option, card


def with_teachers(objective, batch):
    """The batch with the labels as the scores of every teacher that the objective reads."""
    pairs = batch.relation if isinstance(batch, Batch) else batch
    pairs = replace(pairs, teachers_P=dict.fromkeys(objective.teachers, pairs.label_P))
    return replace(batch, relation=pairs) if isinstance(batch, Batch) else pairs


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option", "card"), options_of_conf())
def test_every_option_of_conf_takes_its_steps_on_every_card(checkpoint, composed, home, tmp_path, group, option, card):
    given = [f"home={home}", *overrides(group, option), *f"hardware={card}".split(), "+hardware.traced=true"]
    config = composed("train", *given)
    small = {}
    if config.model.get("layers", 2) > 2:
        small = {
            key: value
            for key, value in composed("train", "model=random_qwen_tiny").model.items()
            if key in config.model and isinstance(value, int)
        }
    config.model.update(small)
    config.model.freeze_layers, config.trainer.max_epochs = min(config.model.freeze_layers, 1), 1
    head = config.model.head._target_.split(".")[3]
    if config.model.hub_id in LIKE or config.model.path == "x":
        family = LIKE.get(config.model.hub_id, "bert")
        config.model.path = str(checkpoint(family if family in READERS[head] else "bert", head))
    hardware, objective = build(config.hardware).resolve(), build(config.loss)
    with Watched(hardware.precision) as device:
        encoder = build(config.model).load(seed=1).to(hardware.torch_device)
        batch = with_teachers(objective, batch_of(encoder, examples(6, negatives=2)))
        module = RetrieverModule(encoder, objective, build(config.optim), Budget(400, 400), steps=1, seed=1)
        module.transfer_batch_to_device = lambda batch, device, number: batch
        trainer = build_trainer(
            build(config.trainer), hardware, logger=False, callbacks=[States()], default_root_dir=str(tmp_path)
        )
        trainer.fit(module, DataLoader([batch], batch_size=None))
        assert trainer.global_step == 1
        assert torch.isfinite(module.terms[0]["loss"].cpu())
    assert not device.faults, "\n".join(device.faults)


def test_every_option_of_conf_is_traced():
    """The number that docs/troubleshooting.md quotes."""
    count = len([*compositions(), *options_of_conf()])
    assert f"{count} compositions" in " ".join((CONF.parent / "docs" / "troubleshooting.md").read_text().split())


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_nothing_of_a_step_stays_in_memory(checkpoint, accumulate):
    used = []

    class Used(Callback):
        def on_train_batch_start(self, trainer, *_):
            used.append(trainer.device.allocations.total)

    same = {"steps": 4, "accumulate": accumulate, "callbacks": [Used()], "budget": Budget(120, 200)}
    train(checkpoint("bert", "colbert"), "colbert", CachedContrastive(0.5), "16-mixed", on=INVENTED, **same)
    after = used[::accumulate][2:]  # before the third and the fourth step
    assert after[0] == after[1]


RUNS = (
    ("t4", ("model=tiny", *SHORTER)),
    ("a100", ("model=tiny", "model/head=biencoder", "model.head.max_length=64", "index=faiss")),
    ("auto", ("model=tiny", "model/head=gaussian", "model.head.max_length=64", "trainer.accumulate_grad_batches=2")),
    ("h100", ("model=tiny", "model/head=cross_encoder", "model.head.max_length=96", "optim.name=adafactor")),
    ("rtx4090", ("model=tiny_reranker", "model.head.max_length=160", "model.lora.rank=4")),
)


@pytest.mark.slow
@pytest.mark.parametrize(("card", "given"), RUNS)
def test_whole_runs_are_traced_to_their_end(home, card, given):
    done = run("train", *given, "data=demo", "eval=demo", f"hardware={card}", "debug=trace", home=home)
    assert done.status == 0, done.err
    assert f"Traced {card}" in done.err
    (systems,) = json.loads((done.folder / "results.json").read_text())["results"].values()
    assert "trained" in systems


@pytest.mark.slow
def test_a_run_that_waits_in_a_step_names_the_line(home, tmp_path, monkeypatch):
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "waiting.yaml").write_text("_target_: waiting_loss.Waiting\n")
    (tmp_path / "waiting_loss.py").write_text(
        "from dataclasses import dataclass\n"
        "from reasonir.loss.base import RetrieverObjective\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Waiting(RetrieverObjective):\n"
        "    def __call__(self, outputs):\n"
        "        return {'loss': outputs.scores_P[outputs.label_P > 0].mean()}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = ("model=tiny", "data=demo", "eval=demo", "loss=waiting", "hardware=t4", "debug=trace")
    done = run("train", *given, *SHORTER, home=home)
    assert done.status == 2
    assert "2 places in which t4 would wait in a step" in done.err  # the other is in the backward pass
    assert "waiting_loss.py:8, called by reasonir/engine/step.py:" in done.err
    assert "index waits for the device (3 times)" in done.err
