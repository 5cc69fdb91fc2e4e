"""How an exported model is opened by what its ecosystem uses, and here: for its card, by the head's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_RETRIEVES = """import reasonir

retriever = reasonir.load("{name}")
retriever.add_documents(["Warm air rises.", "Copper conducts."])
print(retriever.retrieve("why does it rain", top_k=1))"""
_RERANKS = """import reasonir

reranker = reasonir.load("{name}")
print(reranker.rerank("why does it rain", ["Warm air rises.", "Copper conducts."]))"""
_PRUNES = """import reasonir

pruner = reasonir.load("{name}")
print(pruner.prune("why does it rain", ["Warm air rises. Copper conducts."]))"""


@dataclass(frozen=True, slots=True)
class UsageSnippet:
    """How a head's export is opened.

    Attributes:
        library: the hub's name of what opens it.
        task: the hub's name of what it does.
        what: the same in words.
        theirs: code that opens `{name}` in its ecosystem.
        ours: code that opens it here.
    """

    library: str
    task: str
    what: str
    theirs: str
    ours: str

    def parts(self, name: str) -> Iterator[str]:
        """The part of the card on a model that is opened by `name`."""
        yield "## Use"
        for code in (self.theirs, self.ours):
            yield "\n".join(["```python", code.replace("{name}", name), "```"])


_SENTENCE = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
queries = model.encode_query(["why does it rain"])
documents = model.encode_document(["Warm air rises.", "Copper conducts."])
print(model.similarity(queries, documents))"""
_CROSS = """from sentence_transformers import CrossEncoder

model = CrossEncoder("{name}")
print(model.predict([("why does it rain", "Warm air rises."), ("why does it rain", "Copper conducts.")]))"""
OPENED = {
    "colbert": UsageSnippet(
        "PyLate",
        "sentence-similarity",
        "late-interaction retriever (a vector a token, MaxSim)",
        """from pylate import models, rank

model = models.ColBERT("{name}")
queries = model.encode(["why does it rain"], is_query=True, prompt_name="query")
documents = model.encode(["Warm air rises.", "Copper conducts."], is_query=False, prompt_name="document")
print(rank.rerank([[0, 1]], queries, [documents]))""",
        _RETRIEVES,
    ),
    "biencoder": UsageSnippet(
        "sentence-transformers", "sentence-similarity", "retriever (one vector a text)", _SENTENCE, _RETRIEVES
    ),
    "gaussian": UsageSnippet(
        "sentence-transformers",
        "sentence-similarity",
        "retriever (one vector a text in an isotropic Gaussian space, Euclidean distance)",
        _SENTENCE,
        _RETRIEVES,
    ),
    "cross_encoder": UsageSnippet(
        "sentence-transformers", "text-ranking", "reranker (cross-encoder)", _CROSS, _RERANKS
    ),
    "provence": UsageSnippet(
        "transformers",
        "text-ranking",
        "reranker that also drops the sentences of a document that don't help (reasonir prunes, the others rank)",
        _CROSS,
        _PRUNES,
    ),
    "yes_no": UsageSnippet(
        "transformers",
        "text-ranking",
        "reranker (a language model that answers yes or no)",
        """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")  # the folder cross_encoder/ is a sequence classifier
tokenizer = AutoTokenizer.from_pretrained("{name}")""",
        _RERANKS,
    ),
}
