"""Texts that are published encrypted, so that no crawler reads them into training data: BrowseComp-Plus.

A text is its UTF-8 bytes, exclusive-or with the SHA-256 of a public password repeated to their length, in base64
(BrowseComp-Plus, arXiv:2508.06600).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from itertools import cycle

from reasonir.errors import InputError


def deciphered(texts: Mapping[str, str], password: str) -> dict[str, str]:
    """Return the texts in the clear, by id; those of a copy that somebody has deciphered stay as they are.

    Raises:
        InputError: some of the texts can be deciphered and others can't.
    """
    clear = {key: _decipher(text, password) for key, text in texts.items()}
    plain = [key for key, text in clear.items() if text is None]
    if plain and len(plain) < len(texts):
        raise InputError(f"{len(plain)} of {len(texts)} texts aren't encrypted, {plain[0]!r} for one: fetch them again")
    return {key: texts[key] if text is None else text for key, text in clear.items()}


def _decipher(text: str, password: str) -> str | None:
    """Return the text in the clear; None if it isn't encrypted with this password."""
    key = hashlib.sha256(password.encode()).digest()
    try:
        return bytes(a ^ b for a, b in zip(base64.b64decode(text, validate=True), cycle(key), strict=False)).decode()
    except ValueError:
        return None
