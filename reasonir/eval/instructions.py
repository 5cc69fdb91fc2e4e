"""What a query of BRIGHT is for, said to the models that want to be told.

An instruction is a sentence by split; how it is put in front of the query belongs to the model (`model.prompts`), whose
prompt takes it at its place `{instruction}` and nowhere else. So nothing is said twice, and a model without that place
ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reasonir.utils.ranges import Validated

_WORDS = {"stackoverflow": "Stack Overflow"}


@dataclass(frozen=True, slots=True)
class Instructions(Validated):
    """Instructions by split.

    Attributes:
        default: for splits without one of their own; {task} becomes the split's name and {texts} what is searched.
        by_split: other ones.
        texts: what {texts} becomes in the short and in the long setting.
        names: what {task} becomes: the "key" (earth_science, as BRIGHT's code has it) or "words" (Earth Science).
    """

    default: str = ""
    by_split: Mapping[str, str] = field(default_factory=dict)
    texts: tuple[str, str] = ("passages", "documents")
    names: Literal["key", "words"] = "key"

    def of(self, split: str, *, long: bool) -> str:
        """The instruction of a split's queries, "" for none."""
        words = _WORDS.get(split, split.replace("_", " ").title())
        template = self.by_split.get(split, self.default)
        return template.replace("{task}", words if self.names == "words" else split).replace(
            "{texts}", self.texts[long]
        )
