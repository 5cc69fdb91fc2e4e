"""Query instructions for BRIGHT, one sentence per split.

The query prompt of the model (`model.prompts`) inserts the instruction at `{instruction}`; a model whose prompt has no
`{instruction}` ignores it.
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
        default: template for splits that `by_split` lacks; {task} becomes the split's name, {texts} one of `texts`.
        by_split: templates of single splits.
        texts: values of {texts} in the short and in the long setting.
        names: form of {task}: the "key" (earth_science, as in BRIGHT's code) or "words" (Earth Science).
    """

    default: str = ""
    by_split: Mapping[str, str] = field(default_factory=dict)
    texts: tuple[str, str] = ("passages", "documents")
    names: Literal["key", "words"] = "key"

    def of(self, split: str, *, long: bool) -> str:
        """Return the instruction of a split's queries, "" for none."""
        words = _WORDS.get(split, split.replace("_", " ").title())
        template = self.by_split.get(split, self.default)
        return template.replace("{task}", words if self.names == "words" else split).replace(
            "{texts}", self.texts[long]
        )
