"""One weight per term of the vocabulary, mostly 0: SPLADE v2 (Formal et al. 2021, arXiv:2109.10086).

A masked language model predicts terms at every token; a term's weight is log(1 + ReLU(x)) of its largest logit x over
the tokens, and texts are scored by the inner product. Largest logits are computed like MaxSim, block by block: the
logits of all tokens never exist at once, and the backward pass touches the winning tokens alone. Training keeps the
weights of a step dense, N x V in float32; inference keeps those above 0 with their terms.

Exports have the files of sentence-transformers' SparseEncoder and open there with the same weights. A checkpoint
without a trained head, such as a bi-encoder, gets one from its token embeddings: the transform starts as the identity,
so that a token predicts its own and related terms, and the bias lets only the highest logits above 0.

Shape letters: N texts or documents, Q queries, T tokens, L padded length, H hidden size, V terms of the vocabulary.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation
from reasonir.errors import InputError
from reasonir.model.checkpoint_config import Length, check_length, module_options, stated_options, usable_positions
from reasonir.model.head.base import RetrieverHead
from reasonir.model.head.biencoder import BiEncoder, BiEncoderTokenizer
from reasonir.model.head.cross_encoder import PrecomputedBackbone
from reasonir.model.head.usage_snippet import RETRIEVE, UsageSnippet
from reasonir.model.maxsim import maxsim
from reasonir.model.prompts import Prompts
from reasonir.model.sparse import rows_of
from reasonir.model.tokenize import clear_truncation, ensure_padding
from reasonir.types import Side, Text
from reasonir.utils.ranges import PositiveFloat

log = logging.getLogger(__name__)
_POOLING = "SpladePooling"
_MODULES = "sentence_transformers.sparse_encoder.models"
_NEW_BIAS = 5.0
"""Standard deviations that a new head's logits are lowered by: a few hundred terms of a passage stay above 0."""
_BLOCK = 1 << 24
"""Logits computed at a time, 64 MiB in float32: fewer make narrow matrix products of a large vocabulary."""
_FEW = 16
"""Queries below which reading all weights of the documents is faster than ordering them by term; the sums are equal."""


class Splade(nn.Module, RetrieverHead):
    """Masked-language-model head and pooling; see `RetrieverHead`."""

    name: ClassVar[str] = "splade"
    single_vector: ClassVar[bool] = True
    sparse: ClassVar[bool] = True
    metric: ClassVar[str] = "inner_product"
    normalised: ClassVar[bool] = False
    default_loss: ClassVar[str] = "splade"
    usage: ClassVar[UsageSnippet] = UsageSnippet(
        "sentence-transformers",
        "feature-extraction",
        "retriever (one weight per term of the vocabulary, mostly 0)",
        """from sentence_transformers import SparseEncoder

model = SparseEncoder("{name}")
queries = model.encode_query(["why does it rain"])
documents = model.encode_document(["Warm air rises.", "Copper conducts."])
print(model.similarity(queries, documents))""",
        RETRIEVE,
        ("sentence-transformers", "sparse-encoder", "sparse", "splade"),
        "Sparse Information Retrieval",
        "dot",
    )

    def __init__(self, source: Any, tokenizer: BiEncoderTokenizer, temperature: float, *, twice: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.tokenizer = tokenizer
        self.twice = twice
        """True if the logarithm is applied twice, as in OpenSearch's models (arXiv:2504.14839)."""
        self.decoder = source.get_output_embeddings()
        self.size = self.decoder.out_features
        self._place = next(name for name, module in source.named_modules() if module is self.decoder)
        self.transform = source
        self._join(PrecomputedBackbone(None), nn.Identity())

    def _join(self, backbone: nn.Module, decoder: nn.Module) -> None:
        """Set the first and the last part of the language model."""
        setattr(self.transform, self.transform.base_model_prefix, backbone)
        parent, _, name = self._place.rpartition(".")
        setattr(self.transform.get_submodule(parent), name, decoder)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a checkpoint with SPLADE's pooling."""
        return bool(module_options(folder, _POOLING))

    @classmethod
    def unusable(cls, folder: Path, options: Mapping[str, Any]) -> str | None:
        """See `Head.unusable`: no masked language model, or another pooling."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

        stated = stated_options(folder, "config.json")
        family = stated.get("model_type")
        known = family in MASKED or "AutoModelForMaskedLM" in (stated.get("auto_map") or {})
        if not known or stated.get("is_encoder_decoder"):
            return (
                f"model/head=splade: {folder} is no masked language model in transformers ({family}): choose a BERT, "
                "ModernBERT, MPNet or RoBERTa, such as model=minilm, or another head"
            )
        if (pooling := module_options(folder, _POOLING).get("pooling_strategy", "max")) != "max":
            return f"model/head=splade: {folder} pools by {pooling}, not max: choose another checkpoint"
        return None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        max_length: Length | None = None,
        temperature: PositiveFloat = 1.0,
    ) -> tuple[nn.Module, Splade]:
        """Load the backbone and head of a masked language model, or of a plain encoder with a new head.

        Args:
            folder: a checkpoint of sentence-transformers or transformers.
            prompts: prefixes of texts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            max_length: maximum tokens of a text, prompt included; None uses the checkpoint's.
            temperature: see `RetrieverHead`.

        Raises:
            InputError: the length is out of range, or the model has another kind of head.
        """
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        trust = model_kwargs.get("trust_remote_code", False)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust, verbose=False)
        source, loading = AutoModelForMaskedLM.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **model_kwargs
        )
        if not isinstance(source.get_output_embeddings(), nn.Linear):
            raise InputError(f"{folder}: {type(source).__name__} has no linear decoder: choose another checkpoint")
        within = f"{source.base_model_prefix}."
        if new := {name for name in loading["missing_keys"] if not name.startswith(within)}:
            log.warning(
                "%s has no trained masked-language-model head: a new one is made of its token embeddings, and has to "
                "be trained",
                folder,
            )
            _initialise(source, new)
        ensure_padding(tokenizer, source.config).padding_side = "right"
        positions = usable_positions(source.config, tokenizer)
        encoding = cls.read_tokenizer(
            folder, {"max_length": max_length}, tokenizer=tokenizer, prompts=prompts, positions=positions
        )
        check_length("max_length", encoding.max_length, positions)
        stated = module_options(folder, _POOLING)
        twice = stated.get("activation_function") == "log1p_relu"
        return source.base_model, cls(source, encoding, temperature, twice=twice)

    @classmethod
    def limits(cls, folder: Path | None, options: Mapping[str, Any]) -> dict[Side, int]:
        """See `Head.limits`."""
        return BiEncoder.limits(folder, options)

    @classmethod
    def read_tokenizer(
        cls, folder: Path, options: Mapping[str, Any], *, tokenizer: Any, prompts: Prompts, positions: int
    ) -> BiEncoderTokenizer:
        """See `Head.read_tokenizer`: as a bi-encoder reads texts, prompts included."""
        encoding = BiEncoder.read_tokenizer(folder, options, tokenizer=tokenizer, prompts=prompts, positions=positions)
        return replace(encoding, include_prompt=True)

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """See `Head.vector_size`: the terms of the vocabulary."""
        return int(stated_options(folder, "config.json").get("vocab_size", hidden))

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Return weights_NV, dense."""
        hidden_TH = hidden_NLH.flatten(0, 1).index_select(0, padded.rows_T)
        hidden_TH = self.transform(inputs_embeds=hidden_TH[None]).logits[0].float()
        terms = Representation(self.decoder.weight, torch.ones(self.size, dtype=torch.int64))
        logits_NV = maxsim(terms, Representation(hidden_TH, padded.kept_N), block_elements=_BLOCK).T
        return self._weights(logits_NV + (0.0 if self.decoder.bias is None else self.decoder.bias))

    def _weights(self, logits_NV: Tensor) -> Tensor:
        weights_NV = logits_NV.relu_().log1p()
        return weights_NV.log1p() if self.twice else weights_NV

    def graph_outputs(self, hidden_NLH: Tensor, ids_NL: Tensor, attend_NL: Tensor) -> dict[str, Tensor]:
        """See `Head.graph_outputs`: the logits of the masked language model."""
        return {"logits": self.decoder(self.transform(inputs_embeds=hidden_NLH).logits)}

    def from_graph(self, outputs: Mapping[str, Tensor], padded: Padded) -> Tensor:
        """See `Head.from_graph`."""
        logits_TV = outputs["logits"].flatten(0, 1).index_select(0, padded.rows_T)
        parts = torch.split(logits_TV, padded.kept_N.tolist())
        return self._weights(torch.stack([part_LV.amax(0) for part_LV in parts]))

    def stored(self, representation: Representation) -> Representation:
        """Return the weights above 0 with their terms."""
        text_T, terms_T = representation.values_TD.nonzero(as_tuple=True)
        lengths_N = text_T.bincount(minlength=len(representation)).cpu()
        return Representation(representation.values_TD[text_T, terms_T][:, None], lengths_N, terms_T.int())

    def outputs(self, representation: Representation) -> list[Tensor]:
        """Return the dense weights of each text; see `Head.outputs`."""
        return [torch.from_numpy(row_V) for row_V in rows_of(representation, self.size).toarray()]

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return the inner product, 0 or more."""
        if queries.terms_T is None:
            return queries.values_TD @ documents.values_TD.T
        weights_QV, weights_NV = (rows_of(side, self.size) for side in (queries, documents))
        if len(queries) < _FEW:
            scores_QN = (weights_NV @ weights_QV.T.toarray()).T
        else:
            scores_QN = (weights_QV @ weights_NV.T).toarray()
        return torch.from_numpy(scores_QN).to(queries.values_TD.device)

    def save(self, backbone: nn.Module, folder: Path) -> None:
        """Write a SparseEncoder of sentence-transformers; its prompts carry the default instruction."""
        self._join(backbone, self.decoder)
        try:
            self.transform.save_pretrained(folder)
        finally:
            self._join(PrecomputedBackbone(None), nn.Identity())
        clear_truncation(self.tokenizer.tokenizer).save_pretrained(folder)
        pooling = {"pooling_strategy": "max", "activation_function": "log1p_relu" if self.twice else "relu"}
        modules = (("", "MLMTransformer"), (f"1_{_POOLING}", _POOLING))
        files = {
            "modules.json": [
                {"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}.{kind}"}
                for number, (path, kind) in enumerate(modules)
            ],
            f"1_{_POOLING}/config.json": pooling | {"word_embedding_dimension": self.size},
            "sentence_bert_config.json": {
                "max_seq_length": self.tokenizer.max_length,
                "do_lower_case": self.tokenizer.lower_case,
            },
            "config_sentence_transformers.json": {
                "model_type": "SparseEncoder",
                "prompts": {side: self.tokenizer.prompts.of(side) for side in ("query", "document")},
                "default_prompt_name": None,
                "similarity_fn_name": "dot",
            },
        }
        (folder / f"1_{_POOLING}").mkdir()
        for name, contents in files.items():
            (folder / name).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")

    def library_outputs(
        self, folder: Path, texts: Sequence[Text], side: Side, device: torch.device, *, trust_remote_code: bool
    ) -> dict[str, list[Tensor]]:
        """See `RetrieverHead.library_outputs`: by sentence-transformers."""
        from sentence_transformers import SparseEncoder

        source = SparseEncoder(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch.float32},
        )
        weights_NV = source.encode(
            [text.text for text in texts],
            prompt_name=side,
            convert_to_sparse_tensor=False,
            show_progress_bar=False,
        )
        return {"sentence-transformers": list(weights_NV)}


@torch.no_grad()
def _initialise(source: Any, new: Collection[str]) -> None:
    """Make a head of the token embeddings: `new` names the language model's parameters that the checkpoint lacks."""
    embeddings_VH, decoder = source.get_input_embeddings().weight, source.get_output_embeddings()
    for name, parameter in source.named_parameters():
        if name not in new:
            continue
        if parameter is decoder.weight:
            parameter.copy_(embeddings_VH)
        elif parameter is decoder.bias:  # behind a layer norm, a logit varies by the length of its term's embedding
            parameter.fill_(-_NEW_BIAS * float(embeddings_VH.norm(dim=1).mean()))
        elif parameter.ndim == 2:
            nn.init.eye_(parameter)
