"""Scores of documents in the formats of Cohere and Jina (`documents`) and of Text Embeddings Inference (`texts`).

They share `query` and, best first, an answer per document: for `documents` {"results": [{"index", "relevance_score"}]},
with `return_documents` also "document": {"text"}; for `texts` [{"index", "score"}], with `return_text` also "text". A
reranker's score is the probability that a document is relevant, with `raw_scores` its logit; a retriever's is its
similarity. `top_n` keeps the best. A document may be an object with a `text`. Long ones are always cut at their end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from reasonir.errors import InputError
from reasonir.inference.arguments import check_range, many_strings, one_query
from reasonir.publishing.answers import Answers, refuse_unknown
from reasonir.publishing.turns import Deadline
from reasonir.types import Text
from reasonir.utils.ranges import Positive

_FLAGS = ("raw_scores", "return_documents", "return_text")
_CUT = {"truncate": (True,), "truncation_direction": ("right", "Right")}
_FIELDS = ("query", "documents", "texts", "top_n", *_FLAGS, *_CUT, "instruction", "model", "user")


def rerank(answers: Answers, body: Mapping[str, Any], deadline: Deadline) -> Any:
    """Answer a request; null stands for a field's default.

    Raises:
        InputError: naming the field, the value and the remedy, or the limit.
        TooLateError, GoneError: see `reasonir.publishing.turns`.
    """
    refuse_unknown(body, _FIELDS, "the body")
    for name in _FLAGS:
        check_range(name, body.get(name, False), bool)
    for name, values in _CUT.items():
        if body.get(name, values[0]) not in values:
            raise InputError(f"{name}={body[name]!r}: texts are cut at their end to the model's length: leave it out")
    check_range("top_n", top_n := body.get("top_n"), Positive | None)
    query = one_query(Text(body.get("query"), body.get("instruction", "")))  # type: ignore[arg-type]
    if ("documents" in body) == ("texts" in body):
        raise InputError("give the texts to score either as documents or as texts")
    field: Literal["documents", "texts"] = "documents" if "documents" in body else "texts"
    documents = _texts(body[field], field)
    scores = answers.score(query, documents, deadline, logits=body.get("raw_scores", False))
    best = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
    shown = body.get("return_documents", False) or body.get("return_text", False)
    if field == "texts":
        return [
            {"index": index, "score": scores[index], **({"text": documents[index]} if shown else {})} for index in best
        ]
    results = [
        {
            "index": index,
            "relevance_score": scores[index],
            **({"document": {"text": documents[index]}} if shown else {}),
        }
        for index in best
    ]
    return {"id": str(uuid4()), "model": answers.name, "results": results}


def _texts(given: Any, field: str) -> list[str]:
    if not isinstance(given, list) or not given:
        raise InputError(f"{field} is {'empty' if given == [] else 'no list'}: give a list of texts")
    return many_strings([each["text"] if isinstance(each, dict) and "text" in each else each for each in given], field)
