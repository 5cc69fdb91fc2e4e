"""Corpora made searchable, and kept: a folder a model and corpus under indexes/, loaded again when neither changed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from reasonir.data.files.corpora import content_of, read_documents
from reasonir.errors import InputError
from reasonir.inference.retriever import DOCUMENTS, VECTORS, Retriever
from reasonir.inference.search_engine import SearchEngine
from reasonir.model.embedding_cache import identity_of
from reasonir.utils.progress import progress

log = logging.getLogger(__name__)
_TOGETHER = 1024


def open_corpus(finder: SearchEngine, corpus: str, home: Path) -> Path | None:
    """Let a finder search a corpus.

    What a model makes of it is kept under `home`, named by the model and by the documents, and is read from there the
    next time; words are counted anew.

    Args:
        finder: has no documents yet.
        corpus: what `read_documents` reads, or a folder that `Retriever.save` wrote.
        home: indexes/ is here.

    Returns:
        The folder from which `Retriever.load_index` reads it; None of words.

    Raises:
        InputError: what `read_documents` raises; or a saved folder is damaged, or another model's.
    """
    saved = Path(corpus).expanduser()
    if not (saved / VECTORS).is_file():
        documents = read_documents(corpus)
    elif isinstance(finder, Retriever):
        finder.load_index(saved)
        return saved
    else:
        documents = read_documents(str(saved / DOCUMENTS))
    if not isinstance(finder, Retriever):
        finder.add_documents(list(documents.values()), list(documents))
        return None
    folder = home / "indexes" / f"{identity_of(finder.encoder)}-{content_of(documents)}"
    if not _read(finder, folder):
        _encode(finder, documents)
        finder.save(folder)
        log.info("The index of %d documents is kept in %s", len(finder), folder)
    return folder


def _read(retriever: Retriever, folder: Path) -> bool:
    """Whether the documents were kept in `folder`, which are then searched."""
    if not folder.is_dir():
        return False
    try:
        retriever.load_index(folder)
    except InputError as error:
        log.warning("%s is damaged and is made anew: %s", folder, error)
        shutil.rmtree(folder)
        return False
    log.info("Model and corpus are unchanged: the index of %d documents is that of %s", len(retriever), folder)
    return True


def _encode(retriever: Retriever, documents: dict[str, str]) -> None:
    log.info("Encoding %d documents", len(documents))
    rows = list(documents.items())
    parts = [rows[start : start + _TOGETHER] for start in range(0, len(rows), _TOGETHER)]
    for part in progress(parts, "Encoding", total=len(rows), size=len):
        retriever.add_documents([text for _, text in part], [doc_id for doc_id, _ in part])
