"""Prompts: what is put in front of a text, a side, before it is tokenised.

A prompt may hold the place `{instruction}`, which takes the text's own instruction or, where it has none, the model's
default one. A prompt without that place ignores instructions, in training and in inference alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reasonir.types import Side, Text

PLACE = "{instruction}"


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a model's two sides (None: the checkpoint's own) and the instruction for texts without one."""

    query: str | None = None
    document: str | None = None
    instruction: str = ""

    def completed(self, checkpoint: Mapping[str, str | None]) -> Prompts:
        """The same, with the checkpoint's prompts where none is given."""
        query = checkpoint.get("query") if self.query is None else self.query
        document = checkpoint.get("document") if self.document is None else self.document
        return Prompts(query or "", document or "", self.instruction)

    def of(self, side: Side, instruction: str = "") -> str:
        """The prompt of `side`, filled in."""
        prompt = (self.query if side == "query" else self.document) or ""
        return prompt.replace(PLACE, instruction or self.instruction)

    @property
    def takes_instructions(self) -> bool:
        """Whether the instruction of a query gets into what the model reads."""
        return PLACE in (self.query or "")

    def apply(self, text: Text, side: Side) -> str:
        """The text as the model reads it."""
        return (self.of(side, text.instruction) + text.text).strip()
