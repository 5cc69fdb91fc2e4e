"""One vector a text, not normalised, scored by negative squared Euclidean distance: room for an isotropic Gaussian.

A projection follows the bi-encoder's own vector. Drawn as a scaled orthogonal map, it gives every text a vector of
length sqrt(D), as standard normal vectors have, and distances in the order of the cosines before: an untrained model
ranks as the bi-encoder it was made of. Scores are -||q - d||^2 / 2D, so that temperatures mean what they mean for
cosines, which the same vectors' scores then equal less 1. The two-layer projection of ragcun is there as well.
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
    """A bi-encoder with a projection, whose vectors keep their lengths; see `RetrieverHead`."""

    name: ClassVar[str] = "gaussian"
    metric: ClassVar[str] = _EUCLIDEAN
    default_loss: ClassVar[str] = "gaussian"
    usage: ClassVar[UsageSnippet] = replace(
        BiEncoder.usage,
        summary="retriever (one vector per text in an isotropic Gaussian space, Euclidean distance)",
    )

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """See `Head.recognises`: a bi-encoder whose similarity is the Euclidean distance."""
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
        """The backbone and head of a checkpoint; one that this head saved brings its projection.

        Args:
            folder: a sentence-transformers or plain transformers checkpoint.
            prompts: put before texts.
            model_kwargs: for the transformers model (dtype, attn_implementation, trust_remote_code).
            pooling: cls, mean or lasttoken; None is what the checkpoint says.
            max_length: tokens of a text, prompt included; longer ones are cut.
            projection: of a checkpoint without one: linear (orthogonal), or mlp (twice as wide, GELU, dropout).
            size: numbers of a vector; None is as many as the bi-encoder's.
            dropout: of the mlp.
            temperature: see `RetrieverHead`.

        Raises:
            InputError: a pooling, length or projection that can't be.
        """
        backbone, plain = BiEncoder.load(
            folder, prompts=prompts, model_kwargs=model_kwargs, pooling=pooling, max_length=max_length
        )
        (source,) = plain._source
        if source.similarity_fn_name == _EUCLIDEAN:
            del source[-1]  # the normalisation that a bi-encoder would put behind the projection
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
        """Pool, project, and leave it at that."""
        return self.embed(hidden_NLH, padded)

    def score(self, queries: Representation, documents: Representation) -> Tensor:
        """-||q - d||^2 / 2D."""
        distance_QN = torch.cdist(queries.values_TD, documents.values_TD)
        return distance_QN.square() / (-2 * queries.values_TD.shape[1])

    def views(self, queries: Representation, documents: Representation) -> Iterator[Tensor]:
        """One view: an isotropic space has no dimensions that matter more than others."""
        yield self.score(queries, documents)


def _projection(kind: str, given: int, size: int | None, dropout: float) -> list[Any]:
    """The modules that a checkpoint without a projection gets."""
    from sentence_transformers.models import Dense, Dropout

    size = size or given
    if kind == "mlp":
        wide = Dense(given, 2 * given, activation_function=nn.GELU())
        return [wide, Dropout(dropout), Dense(2 * given, size, activation_function=nn.Identity())]
    linear = Dense(given, size, activation_function=nn.Identity())
    nn.init.orthogonal_(linear.linear.weight, gain=max(given, size) ** 0.5)
    nn.init.zeros_(linear.linear.bias)
    return [linear]
