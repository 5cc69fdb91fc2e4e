"""Small models and batches, and reference computations for the engine."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError
from lightning import LightningModule, Trainer
from torch import nn

from reasonir.data.batch import Batch
from reasonir.data.batches.collate import groups_of
from reasonir.invented.device import DeviceTensor
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.symmetric import Symmetric
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.model.head.biencoder import BiEncoder
from reasonir.model.head.colbert import ColBERT
from reasonir.model.head.cross_encoder import CrossEncoder
from reasonir.model.head.gaussian import Gaussian
from reasonir.model.head.provence import Provence
from reasonir.model.head.splade import Splade
from reasonir.model.head.yes_no import YesNo
from reasonir.model.tiny import Tiny, TinyDecoder, _train_tokenizer
from reasonir.types import Document, Example

HTTP = import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
"""httpx, or the package that huggingface_hub has it in from version 2 on."""
RETRIEVERS = {"colbert": ColBERT, "biencoder": BiEncoder, "gaussian": Gaussian, "splade": Splade}
HEADS = {**RETRIEVERS, "yes_no": YesNo, "cross_encoder": CrossEncoder, "provence": Provence}
SENTENCES = (
    "the cat sat on the mat and looked at the rain",
    "ovens dry the dough while it rises",
    "a queue grows without bound when work arrives faster than it is done",
    "why does the kettle whistle",
    "a lever trades distance for force, and force for distance, about its pivot",
    "copper",
    "bees dance to tell where the flowers are, how far and how good they are this morning",
    "the train was late again; nobody was surprised",
    "salt lowers the temperature at which water freezes",
    "two clocks drift apart",
    "an apprentice learns by doing what the master does, slowly, and then by doing it wrong",
    "wind turns the blades",
)


def tiny_bert(folder: Path) -> Path:
    """The checkpoint that model=tiny makes."""
    return Tiny(path=str(folder), head=ColBERT.load).locate()


def tiny_decoder(folder: Path) -> Path:
    """The checkpoint that model=tiny_reranker makes."""
    return TinyDecoder(path=str(folder), head=ColBERT.load).locate()


def tiny_qwen(folder: Path) -> Path:
    """A Qwen3 checkpoint: grouped-query attention, rotary positions, an end-of-text token after each text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    if (folder / "config.json").exists():
        return folder
    inner = _train_tokenizer(1000)
    end = inner.token_to_id("[SEP]")
    inner.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[("[SEP]", end)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=256,
        padding_side="left",
        unk_token="[UNK]",
        eos_token="[SEP]",
        pad_token="[PAD]",
    )
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=256,
        dtype=torch.bfloat16,
    )
    torch.manual_seed(3)
    Qwen3Model(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(
    folder: Path, head: str, *, dropout: float = 0.0, seed: int = 5, model: dict | None = None, **options
) -> Encoder:
    """An encoder on a checkpoint folder, with one dropout probability everywhere."""
    recipe = Model(path=str(folder), head=partial(HEADS[head].load, **options), **(model or {}))
    encoder = recipe.load(seed=seed)
    set_dropout(encoder, dropout)
    return encoder


def is_traced(encoder: nn.Module) -> bool:
    """Return whether a plan traces the encoder: on tensors without values, which take no memory."""
    return isinstance(next(encoder.parameters()), DeviceTensor)


def set_dropout(encoder: nn.Module, probability: float) -> None:
    """Give every dropout of a model the same probability."""
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def examples(count: int, *, negatives: int = 1, shared: bool = True) -> list[Example]:
    """Examples whose documents differ much in length; with `shared`, some documents serve several of them.

    The documents' first half is a span that helps, in positives, and the rest another that doesn't.
    """
    found = []
    for number in range(count):
        query = f"{SENTENCES[number % len(SENTENCES)]} {number}"
        other = number // 3 * 3 if shared else number
        positive = Document(
            f"p{other}", f"{SENTENCES[(other * 5 + 1) % len(SENTENCES)]} " * (1 + other % 4) + str(other)
        )
        wrong = [
            Document(f"n{number}.{i}", f"{SENTENCES[(number + 3 * i + 2) % len(SENTENCES)]} {i}", label=0.0)
            for i in range(negatives)
        ]
        found.append(Example(f"q{number}", query, tuple(map(_halved, (positive, *wrong)))))
    return found


def _halved(document: Document) -> Document:
    half, end = len(document.text) // 2, len(document.text)
    return replace(document, spans=((0, half), (half, end)), span_labels=(document.label, 0.0))


def batch_of(encoder: Encoder, given: Sequence[Example], *, step: int = 0) -> Batch:
    """The batch that the loader would make of these examples, one pair each."""
    return encoder.head.tokenizer.collate(step, groups_of(given))


def fit(module: LightningModule, batches: Sequence[Batch], **options: Any) -> None:
    """Train a module on these batches on the CPU, with Lightning's `options` and nothing written."""
    module.transfer_batch_to_device = lambda batch, device, number: batch  # the engine sends what it needs
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))


def gradients(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every gradient there is."""
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """max |difference| over max |gradient|, over all parameters."""
    assert first.keys() == second.keys()
    scale = max(float(value.abs().max()) for value in first.values())
    return max(float((first[name] - second[name]).abs().max()) for name in first) / scale


def plain_loss(
    encoder: Encoder, batch: Batch, temperature: float, *, hardness: float = 0.0, loss: type = CachedContrastive
) -> torch.Tensor:
    """A contrastive loss by the definition: each text by itself, every score by loops, a softmax or two a pair."""
    queries, documents = (
        [_alone(encoder, side, i) for i in range(len(side))] for side in (batch.queries, batch.documents)
    )
    relation = batch.relation
    known = set(zip(relation.known_query_K.tolist(), relation.known_K.tolist(), strict=True))
    pairs = list(zip(relation.query_P.tolist(), relation.document_P.tolist(), relation.label_P.tolist(), strict=True))
    keys, losses = relation.key_N.tolist(), []
    for query, target, label in pairs:
        if label <= 0:
            continue

        def alike(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return similarity(encoder, first, second) / temperature

        negatives = [d for d, key in enumerate(keys) if d != target and (query, key) not in known]
        score = alike(queries[query], documents[target])
        scores = [alike(queries[query], documents[d]) for d in negatives]
        forward = [score, *(s + hardness * temperature * s.detach() for s in scores)]
        others = [q for q in range(len(queries)) if batch.relation.query_key_Q[q] != batch.relation.query_key_Q[query]]
        back = [score] + [alike(queries[q], documents[target]) for q in others if (q, keys[target]) not in known]
        if loss is CachedContrastive:
            losses.append(torch.stack(forward).logsumexp(0) - score)
        elif loss is Symmetric:
            losses.append(sum(torch.stack(side).logsumexp(0) - score for side in (forward, back)) / 2)
        else:
            strange = [
                q
                for q in others
                if not any((q, keys[d]) in known for o, d, label in pairs if o == query and label > 0)
                and not any((query, keys[d]) in known for o, d, label in pairs if o == q and label > 0)
            ]
            own = {d for o, d, _ in pairs if o == query}
            between = [alike(queries[query], queries[q]) for q in strange]
            between += [alike(documents[target], documents[d]) for d in negatives if d not in own]
            losses.append(torch.stack([*forward, *back, *between]).logsumexp(0) - score)
    return torch.stack(losses).mean()


def similarity(encoder: Encoder, query_LD: torch.Tensor, document_LD: torch.Tensor) -> torch.Tensor:
    """Similarity of two texts: MaxSim, which is the cosine for single vectors, or one from the Euclidean distance."""
    if isinstance(encoder.head, Gaussian):
        return -(query_LD - document_LD).square().sum() / (2 * query_LD.shape[1])
    return (query_LD @ document_LD.T).max(-1).values.sum()


def _alone(encoder: Encoder, tokens, number: int) -> torch.Tensor:
    return encoder(tokens.pad(torch.tensor([number])))
