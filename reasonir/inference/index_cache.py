"""Cache of indexed corpora: one folder per model and corpus under indexes/, reused while neither changes."""

from __future__ import annotations

import logging
from pathlib import Path

from reasonir.data.files.corpora import content_of, read_documents
from reasonir.errors import InputError
from reasonir.inference.retriever import DOCUMENTS, VECTORS, Retriever
from reasonir.inference.search_engine import SearchEngine
from reasonir.model.embedding_cache import identity_of
from reasonir.utils.files import exclusive
from reasonir.utils.progress import progress

log = logging.getLogger(__name__)
_CHUNK = 1024
"""Documents added at a time."""


def open_corpus(engine: SearchEngine, corpus: str, home: Path) -> Path | None:
    """Add a corpus to a search engine; a retriever's index is cached under `home`, BM25 counts words every time.

    Args:
        engine: without documents.
        corpus: a path that `read_documents` reads, or a folder that `Retriever.save` wrote.
        home: root of indexes/.

    Returns:
        The folder that `Retriever.load_index` reads; None for BM25.

    Raises:
        InputError: as `read_documents`; or a saved folder is damaged, or belongs to another model.
    """
    saved = Path(corpus).expanduser()
    if not (saved / VECTORS).is_file():
        documents = read_documents(corpus)
    elif isinstance(engine, Retriever):
        engine.load_index(saved)
        return saved
    else:
        documents = read_documents(str(saved / DOCUMENTS))
    if not isinstance(engine, Retriever):
        engine.add_documents(list(documents.values()), list(documents))
        return None
    folder = home / "indexes" / f"{identity_of(engine.encoder)}-{content_of(documents)}"
    if _read(engine, folder) is None:
        return folder
    with exclusive(home / "cache" / folder.name):  # commands that need the same index wait for it
        if (fault := _read(engine, folder)) is not None:
            if folder.is_dir():
                log.warning("%s is damaged and is rebuilt: %s", folder, fault)
            _encode(engine, documents)
            engine.write_index(folder)
            log.info("The index of %d documents is cached in %s", len(engine), folder)
    return folder


def _read(retriever: Retriever, folder: Path) -> str | None:
    """Load a cached index; return why it can't be, None if it is loaded."""
    try:
        retriever.load_index(folder)
    except InputError as error:
        return str(error)
    log.info("Model and corpus are unchanged: the index of %d documents is read from %s", len(retriever), folder)
    return None


def _encode(retriever: Retriever, documents: dict[str, str]) -> None:
    log.info("Encoding %d documents", len(documents))
    rows = list(documents.items())
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    for chunk in progress(chunks, "Encoding", total=len(rows), size=len):
        retriever.add_documents([text for _, text in chunk], [doc_id for doc_id, _ in chunk])
