"""Embeddings in OpenAI's format (`POST /v1/embeddings`), of retrievers with one vector per text.

`input` is a text or a list of texts; `encoding_format` is `float` or `base64` (little-endian float32); `dimensions`
keeps the first numbers of a vector, for models trained at several sizes (Matryoshka), and gives it length 1 again.
OpenAI's format doesn't say what a text is: `input_type` does, in the words of Voyage, Cohere or NVIDIA, and is
`document` by default. `instruction` replaces the one in a model's prompt. The server has one model, which answers under
any name; `model` of an answer is its own.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

from torch.nn.functional import normalize

from reasonir.errors import InputError
from reasonir.inference.arguments import check_range, many_strings
from reasonir.publishing.answers import Answers, refuse_unknown
from reasonir.publishing.turns import Deadline
from reasonir.types import Side, Text
from reasonir.utils.ranges import Positive
from reasonir.utils.values import check_text

_FIELDS = ("input", "model", "encoding_format", "dimensions", "input_type", "instruction", "user")
_SIDES: Mapping[str, Side] = {
    "document": "document",
    "query": "query",
    "search_document": "document",
    "search_query": "query",
    "passage": "document",
}


def embeddings(answers: Answers, body: Mapping[str, Any], deadline: Deadline) -> dict[str, Any]:
    """Answer a request; null stands for a field's default.

    Raises:
        InputError: naming the field, the value and the remedy, or the limit.
        TooLateError, GoneError: see `reasonir.publishing.turns`.
    """
    refuse_unknown(body, _FIELDS, "the body")
    encoding, dimensions = body.get("encoding_format", "float"), body.get("dimensions")
    check_range("encoding_format", encoding, Literal["float", "base64"])
    check_range("dimensions", dimensions, Positive | None)
    kind = body.get("input_type", "document")
    check_range("input_type", kind, Literal["document", "query", "search_document", "search_query", "passage"])
    instruction = check_text(body.get("instruction", ""), "instruction", remedy="give a string", blank=True)
    texts = [Text(text, instruction) for text in _texts(body.get("input"))]
    found, read = answers.embed(texts, _SIDES[kind], deadline)
    values_ND = found.values_TD.float()
    if dimensions is not None and dimensions != (size := values_ND.shape[1]):
        if dimensions > size:
            raise InputError(f"dimensions={dimensions}: this model's vectors have {size}")
        if not answers.model.encoder.head.normalised:
            raise InputError(f"dimensions={dimensions}: this model's vectors can't be shortened: leave it out")
        values_ND = normalize(values_ND[:, :dimensions], dim=-1)
    array_ND = values_ND.numpy().astype("<f4", copy=False)
    vectors = array_ND.tolist() if encoding == "float" else [base64.b64encode(row).decode() for row in array_ND]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "data": data, "model": answers.name, "usage": usage}


def _texts(given: Any) -> list[str]:
    if given is None or given == []:
        raise InputError("input is missing: give a text, or a list of texts")
    if isinstance(given, list) and isinstance(given[0], int | list):
        raise InputError(
            "input holds token ids of another model's vocabulary: give texts "
            "(in LangChain by check_embedding_ctx_length=False)"
        )
    return many_strings(given, "input")
