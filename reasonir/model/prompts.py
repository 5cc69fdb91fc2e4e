"""Prompts: prefixes of texts, per side.

A prompt may contain the placeholder `{instruction}`, which is replaced by the text's own instruction or, without one,
by the model's default. A prompt without it ignores instructions, in training and in inference alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reasonir.types import Side, Text

_PLACEHOLDER = "{instruction}"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts of a model.

    Attributes:
        query: prompt of queries; None uses the checkpoint's.
        document: prompt of documents; None uses the checkpoint's.
        instruction: instruction of texts without one.
    """

    query: str | None = None
    document: str | None = None
    instruction: str = ""

    def completed(self, checkpoint: Mapping[str, str | None]) -> Prompts:
        """Return the prompts, with the checkpoint's where they are None."""
        query = checkpoint.get("query") if self.query is None else self.query
        document = checkpoint.get("document") if self.document is None else self.document
        return Prompts(query or "", document or "", self.instruction)

    def of(self, side: Side, instruction: str = "") -> str:
        """Return the prompt of `side` with its instruction; a blank one is none."""
        return self._template(side).replace(_PLACEHOLDER, instruction if instruction.strip() else self.instruction)

    def tail(self, side: Side) -> str:
        """Return the part of the prompt that follows its instruction; empty without one."""
        return self._template(side).rpartition(_PLACEHOLDER)[2] if _PLACEHOLDER in self._template(side) else ""

    def mapped(self, change: Callable[[str], str]) -> Prompts:
        """Return the prompts with both templates changed, the instruction as it is."""
        return Prompts(change(self.query or ""), change(self.document or ""), self.instruction)

    def _template(self, side: Side) -> str:
        return (self.query if side == "query" else self.document) or ""

    @property
    def takes_instructions(self) -> bool:
        """True if the prompt of queries contains the instruction."""
        return _PLACEHOLDER in (self.query or "")

    def apply(self, text: Text, side: Side) -> str:
        """Return the text with its prompt."""
        return (self.of(side, text.instruction) + text.text).strip()
