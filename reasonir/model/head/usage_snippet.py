"""Usage snippets for the model card: code that opens an export by its ecosystem's library and by reasonir."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

RETRIEVE = """import reasonir

retriever = reasonir.load("{name}")
retriever.add_documents(["Warm air rises.", "Copper conducts."])
print(retriever.retrieve("why does it rain", top_k=1))"""
RERANK = """import reasonir

reranker = reasonir.load("{name}")
print(reranker.rerank("why does it rain", ["Warm air rises.", "Copper conducts."]))"""
PRUNE = """import reasonir

pruner = reasonir.load("{name}")
print(pruner.prune("why does it rain", ["Warm air rises. Copper conducts."]))"""


@dataclass(frozen=True, slots=True)
class UsageSnippet:
    """Code that opens an export named `{name}`, and its metadata on the hub.

    Attributes:
        library: library name on the hub.
        task: task name on the hub.
        summary: description of the head.
        library_code: code with that library.
        reasonir_code: code with reasonir.
        tags: tags that the library gives its models on the hub.
        evaluation: the library's name of an evaluation by rankings, in the results on the hub.
        similarity: the library's name of the similarity, which its metrics start with; empty for scores of pairs.
    """

    library: str
    task: str
    summary: str
    library_code: str
    reasonir_code: str
    tags: tuple[str, ...]
    evaluation: str
    similarity: str = ""

    def parts(self, name: str) -> Iterator[str]:
        """Yield paragraphs of the model card on opening the model `name`."""
        yield "## Usage"
        for code in (self.library_code, self.reasonir_code):
            yield "\n".join(["```python", code.replace("{name}", name), "```"])
