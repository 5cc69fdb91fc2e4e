"""Encoder without weights: the real backbone and head, with tensors that have shapes only.

The head's own `load` builds them from the checkpoint's configuration and tokenizer, while transformers reads no
weights. Where neither is at hand, the configuration in the YAML and a tiny model's tokenizer take their place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from reasonir.errors import InputError, NotHereError
from reasonir.invented.device import Tracing, hollow_
from reasonir.model.backbone import Model
from reasonir.model.checkpoint_config import stated_options
from reasonir.model.encoder import Encoder
from reasonir.model.sentence_modules import Dense
from reasonir.model.shape import is_decoder
from reasonir.model.tiny import chat_tokenizer, word_tokenizer

_CPU = torch.device("cpu")
_WORDS, _VOCABULARY = 2000, 32_000


def hollow_encoder(model: Model, tracing: Tracing) -> Encoder:
    """Return the encoder of a model in training mode, hollow on the CPU; within `tracing`.

    Raises:
        InputError: its configuration is neither here nor in its YAML.
    """
    from transformers import CONFIG_MAPPING

    with _no_weights(tracing):
        try:
            return model.load(weights=False)
        except NotHereError:
            if not model.config or model.path != model.hub_id:
                raise
        if (family := model.config.get("model_type")) not in CONFIG_MAPPING:
            raise InputError(f"model.config.model_type={family}: transformers knows no such model: give one of its own")
        with TemporaryDirectory() as name:
            folder = _written(model.config, Path(name))
            return replace(model, path=str(folder), hub_id=None, revision=None, config=None).load(weights=False)


def stand_in(model: Model) -> dict[str, Any]:
    """Return the configuration of a model of the same dimensions and kind, of transformers' own code."""
    shape = model.measure()
    stated = model.config or stated_options(model.locate(weights=False), "config.json")
    return {
        "model_type": "qwen3" if shape.causal else "modernbert" if shape.gated else "bert",
        "architectures": ["Qwen3ForCausalLM" if shape.causal else ""],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "vocab_size": stated.get("text_config", stated).get("vocab_size", _VOCABULARY),
        "max_position_embeddings": 1 << 15,
        "pad_token_id": 0,
    }


def _written(config: Mapping[str, Any], folder: Path) -> Path:
    """Write a checkpoint of a configuration without weights, with a tiny model's tokenizer."""
    tokenizer = chat_tokenizer(_WORDS) if is_decoder(config) else word_tokenizer(_WORDS)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    return folder


@contextmanager
def _no_weights(tracing: Tracing) -> Iterator[None]:
    """Let transformers build hollow models within the block."""
    from transformers import PreTrainedModel

    def built(cls: Any, path: Any, /, *args: Any, config: Any = None, **options: Any) -> Any:
        labels = {"num_labels": options["num_labels"]} if "num_labels" in options else {}
        if config is None:
            config = cls.config_class.from_pretrained(path, **labels)
        elif labels:
            config.num_labels = labels["num_labels"]
        attention = {name: options[name] for name in ("attn_implementation",) if name in options}
        with torch.device("meta"):
            net = cls._from_config(config, dtype=torch.float32, **attention)
        hollow_(net, tracing, _CPU)
        return (net.eval(), {"missing_keys": ()}) if options.get("output_loading_info") else net.eval()

    def resize(self: Any, size: int | None = None, *args: Any, **options: Any) -> Any:
        """Grow for the head's markers; a stand-in's tokenizer is smaller than the vocabulary."""
        present = self.get_input_embeddings()
        if size is None or size <= present.num_embeddings:
            return present
        grown = nn.Embedding(size, present.embedding_dim, present.padding_idx, device="meta")
        hollow_(grown, tracing, _CPU)
        self.set_input_embeddings(grown)
        self.config.vocab_size = size
        return grown

    logging.disable(logging.WARNING)  # the weights' own loading warns
    tracing.read = 1  # so that checks of numbers hold
    before = PreTrainedModel.__dict__["from_pretrained"], PreTrainedModel.resize_token_embeddings, Dense.load
    PreTrainedModel.from_pretrained, PreTrainedModel.resize_token_embeddings = classmethod(built), resize
    Dense.load = lambda self, folder: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained, PreTrainedModel.resize_token_embeddings, Dense.load = before  # type: ignore[method-assign]
        logging.disable(logging.NOTSET)
        tracing.read = 0
