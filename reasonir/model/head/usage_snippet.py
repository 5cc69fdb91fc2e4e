"""How the export of a head is opened by the library of its ecosystem and by reasonir: for the model's card."""

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
    """Code that opens an export named `{name}`, and the hub's words for it.

    Attributes:
        library: the hub's name of the library that opens it.
        task: the hub's name of its task.
        summary: the head in words.
        library_code: opens it by that library.
        reasonir_code: opens it here.
    """

    library: str
    task: str
    summary: str
    library_code: str
    reasonir_code: str

    def parts(self, name: str) -> Iterator[str]:
        """Paragraphs of the model card on opening the model `name`."""
        yield "## Use"
        for code in (self.library_code, self.reasonir_code):
            yield "\n".join(["```python", code.replace("{name}", name), "```"])
