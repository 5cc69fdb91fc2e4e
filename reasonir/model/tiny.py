"""Models small enough for tests: random weights, and a tokenizer trained on the demo corpus.

They are written once as ordinary checkpoint folders and then loaded and saved like every other model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, MultipleOf

from reasonir.model.backbone import Model
from reasonir.model.download import locate
from reasonir.utils.ranges import Positive
from reasonir.utils.state import cached_folder

_SPECIAL = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}


_CHAT = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
_ANSWERS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Tiny(Model):
    """Tiny BERT; its checkpoint is written to a folder in `path` from `layers`, `hidden` and `vocabulary`."""

    layers: Positive = 2
    hidden: Annotated[int, Ge(1), MultipleOf(32)] = 64
    vocabulary: Annotated[int, Ge(100)] = 2000
    form: ClassVar[str] = "bert"

    def locate(self, *, weights: bool = True) -> Path:
        """Return the folder of the checkpoint, written on first use."""
        folder = Path(self.path) / f"{self.form}-{self.layers}x{self.hidden}-{self.vocabulary}"
        cached_folder(folder, self._write)
        return locate(str(folder), weights=weights, trust_remote_code=self.trust_remote_code)

    def _write(self, folder: Path) -> None:
        from transformers import BertConfig, BertModel

        tokenizer = word_tokenizer(self.vocabulary)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 32,
            intermediate_size=4 * self.hidden,
        )
        write_random(folder, BertModel, config, tokenizer)


@dataclass(frozen=True, slots=True)
class TinyDecoder(Tiny):
    """Tiny causal language model in Qwen3's architecture, with the chat template and answers of `head=yes_no`."""

    form: ClassVar[str] = "qwen3"

    def _write(self, folder: Path) -> None:
        from transformers import Qwen3Config, Qwen3ForCausalLM

        tokenizer = chat_tokenizer(self.vocabulary)
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            intermediate_size=3 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 16,
            num_key_value_heads=self.hidden // 32,
            head_dim=16,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
        )
        write_random(folder, Qwen3ForCausalLM, config, tokenizer)


def write_random(folder: Path, model: Callable[[Any], Any], config: Any, tokenizer: Any) -> None:
    """Write a checkpoint with random weights, always the same, in the configuration's type.

    Args:
        folder: of the checkpoint.
        model: class of transformers.
        config: the model's dimensions.
        tokenizer: saved next to it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config).to(config.dtype or torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_tokenizer(vocabulary: int, *, rows: int = 0, **options: Any) -> Any:
    """Return a tokenizer with BERT's special tokens, trained on the demo corpus.

    Args:
        vocabulary: most tokens of the training.
        rows: tokens to fill up to with unused words, for embeddings of a published size.
        options: of transformers' tokenizer.
    """
    from transformers import PreTrainedTokenizerFast

    inner = _filled(_train_tokenizer(vocabulary), rows)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **{"model_max_length": 512, **_SPECIAL, **options})


def chat_tokenizer(vocabulary: int, *, rows: int = 0) -> Any:
    """Return a tokenizer with the chat template's tokens and the answers of `head=yes_no`; see `word_tokenizer`."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    inner: Any = _filled(_train_tokenizer(vocabulary), rows - len(_CHAT) - len(_ANSWERS))
    inner.post_processor = None
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=1024,
        padding_side="left",
        unk_token="[UNK]",
        pad_token="[PAD]",
        eos_token="<|im_end|>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(_CHAT)})
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in _ANSWERS])
    return tokenizer


def _filled(tokenizer: Any, rows: int) -> Any:
    from tokenizers import Tokenizer

    parts = json.loads(tokenizer.to_str())
    words = parts["model"]["vocab"]
    words |= {f"[unused{number}]": number for number in range(len(words), rows)}
    return Tokenizer.from_str(json.dumps(parts))


def _train_tokenizer(vocabulary: int) -> object:
    """Train a lower-casing WordPiece tokenizer on the demo corpus, deterministically."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    from reasonir.data.demo import build_world

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in build_world(0, 1).texts():
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces = [*_SPECIAL.values(), *_pieces(words)][:vocabulary]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    cls_id, sep_id = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls_id), ("[SEP]", sep_id)],
    )
    return tokenizer


def _pieces(words: Mapping[str, int]) -> list[str]:
    """Return characters, then words, beginnings and endings by the number of corpus characters they cover.

    The library's own trainer breaks ties by the order of a randomly seeded hash table, so its vocabularies aren't
    reproducible.
    """
    characters = sorted({character for word in words for character in word})
    covered: Counter[str] = Counter()
    for word, count in words.items():
        covered[word] += count * len(word)
        for cut in range(2, len(word) - 1):
            covered[word[:cut]] += count * cut
            covered[f"##{word[cut:]}"] += count * (len(word) - cut)
    single = [*characters, *(f"##{character}" for character in characters)]
    return [
        *single,
        *(piece for piece in sorted(covered, key=lambda piece: (-covered[piece], piece)) if len(piece) > 1),
    ]
