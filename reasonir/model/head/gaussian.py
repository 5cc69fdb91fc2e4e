"""One unnormalised vector per text, scored by negative squared Euclidean distance, for an isotropic Gaussian space.

A projection follows the bi-encoder's vector. Initialised as a scaled orthogonal map, it gives every text a vector of
length sqrt(D), as standard normal vectors have, and distances in the order of the cosines: an untrained model ranks
like its bi-encoder. Scores are -||q - d||^2 / 2D, so that temperatures have the scale of those for cosines, which the
initial scores equal less 1. The two-layer projection of ragcun is available as well.

Shape letters: N texts, Q queries, L padded length, H hidden size, D vector size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation
from reasonir.model.checkpoint_config import Length, stated_options
from reasonir.model.head.biencoder import BiEncoder, PoolingMode
from reasonir.model.head.usage_snippet import UsageSnippet
from reasonir.model.prompts import Prompts
from reasonir.utils.ranges import Fraction, Positive, PositiveFloat

Projection = Literal["linear", "mlp"]
_EUCLIDEAN = "euclidean"


class Gaussian(BiEncoder):
    """Bi-encoder with a projection and unnormalised vectors; see `RetrieverHead`."""

    name: ClassVar[str] = "gaussian"
    metric: ClassVar[str] = _EUCLIDEAN
    normalised: ClassVar[bool] = False
    default_loss: ClassVar[str] = "gaussian"
    usage: ClassVar[UsageSnippet] = replace(
        BiEncoder.usage,
        summary="retriever (one vector per text in an isotropic Gaussian space, Euclidean distance)",
        similarity=_EUCLIDEAN,
    )

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a bi-encoder with Euclidean similarity."""
        stated = stated_options(folder, "config_sentence_transformers.json")
        return super().recognises(folder) and stated.get("similarity_fn_name") == _EUCLIDEAN

    @classmethod
    def load(  # type: ignore[override]
        cls,
        folder: Path,
        *,
        prompts: Prompts,
        model_kwargs: dict[str, Any],
        pooling: PoolingMode | None = None,
        max_length: Length | None = None,
        projection: Projection = "linear",
        size: Positive | None = None,
        dropout: Fraction = 0.1,
        temperature: PositiveFloat = 0.05,
    ) -> tuple[nn.Module, Gaussian]:
        """Load the backbone and head of a checkpoint; a checkpoint of this head has its own projection.

        Args:
            folder: a sentence-transformers or plain transformers checkpoint.
            prompts: prefixes of texts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            pooling: cls, mean or lasttoken; None uses the checkpoint's.
            max_length: maximum tokens of a text, prompt included.
            projection: new projection: linear (orthogonal), or mlp (twice as wide, GELU, dropout).
            size: vector size; None keeps the bi-encoder's.
            dropout: dropout of the mlp.
            temperature: see `RetrieverHead`.

        Raises:
            InputError: the model doesn't support the pooling, length or projection.
        """
        backbone, plain = BiEncoder.load(
            folder, prompts=prompts, model_kwargs=model_kwargs, pooling=pooling, max_length=max_length
        )
        (source,) = plain._source
        if source.similarity_fn_name == _EUCLIDEAN:
            del source[-1]  # normalisation added by BiEncoder
        else:
            for module in _projection(projection, source.get_sentence_embedding_dimension(), size, dropout):
                source.append(module)
            source.similarity_fn_name = _EUCLIDEAN
        size = source.get_sentence_embedding_dimension()
        return backbone, cls(source, plain.tokenizer, plain.pooling, (size,), temperature)

    @classmethod
    def vector_size(cls, folder: Path | None, options: Mapping[str, Any], hidden: int) -> int:
        """See `Head.vector_size`."""
        return options.get("size") or super().vector_size(folder, options, hidden)

    def forward(self, hidden_NLH: Tensor, padded: Padded) -> Tensor:
        """Pool and project, without normalisation."""
        return self.embed(hidden_NLH, padded)

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """Return -||q - d||^2 / 2D."""
        distance_QN = torch.cdist(queries.values_TD, documents.values_TD)
        return distance_QN.square() / (-2 * queries.values_TD.shape[1])

    def views(
        self, queries: Representation, documents: Representation
    ) -> Iterator[tuple[Representation, Representation]]:
        """Yield the full vectors: an isotropic space has no leading dimensions."""
        yield queries, documents


def _projection(kind: str, inputs: int, size: int | None, dropout: float) -> list[Any]:
    """Return the modules of a new projection."""
    from sentence_transformers.models import Dense, Dropout

    size = size or inputs
    if kind == "mlp":
        wide = Dense(inputs, 2 * inputs, activation_function=nn.GELU())
        return [wide, Dropout(dropout), Dense(2 * inputs, size, activation_function=nn.Identity())]
    linear = Dense(inputs, size, activation_function=nn.Identity())
    nn.init.orthogonal_(linear.linear.weight, gain=max(inputs, size) ** 0.5)
    nn.init.zeros_(linear.linear.bias)
    return [linear]
