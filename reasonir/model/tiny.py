"""A model small enough for tests: random weights of BERT's form, its tokenizer trained on the demo corpus.

It is written once as an ordinary checkpoint folder and then found, loaded and saved like every other model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from reasonir.errors import InputError
from reasonir.files import completed
from reasonir.model.backbone import Model

_SPECIAL = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True, slots=True)
class Tiny(Model):
    """The tiny model; `path` is where its checkpoint is kept, made from `layers`, `hidden` and `vocabulary`."""

    layers: int = 2
    hidden: int = 64
    vocabulary: int = 2000

    def locate(self, *, weights: bool = True) -> Path:
        """The folder of the checkpoint, written on first use."""
        if self.hidden % 32:
            raise InputError(f"model.hidden={self.hidden}: give a multiple of 32")
        folder = Path(self.path) / f"bert-{self.layers}x{self.hidden}-{self.vocabulary}"
        if not (folder / "config.json").is_file():
            with completed(folder) as partial:
                self._write(partial)
        return folder

    def _write(self, folder: Path) -> None:
        from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=_train_tokenizer(self.vocabulary), model_max_length=512, **_SPECIAL
        )
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            intermediate_size=4 * self.hidden,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _train_tokenizer(vocabulary: int) -> object:
    """A lower-casing WordPiece tokenizer of the demo corpus."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    from reasonir.data.demo import build_world

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=list(_SPECIAL.values()), show_progress=False
    )
    tokenizer.train_from_iterator(build_world(0, 1).texts(), trainer)
    cls_id, sep_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls_id), ("[SEP]", sep_id)],
    )
    return tokenizer
