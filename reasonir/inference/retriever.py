"""Retriever: exact search of documents in memory, with any retriever head.

    retriever = Retriever.load("outputs/<run>")
    retriever.add_documents(["Bees dance.", "Copper conducts."])
    retriever.retrieve("how do bees tell where flowers are", top_k=1)    # [Hit(id="0", text="Bees dance.", ...)]
    retriever.save("my-index")

Representations are kept in memory, and saved as safetensors with one JSON line per document (nothing is unpickled) and
the identity of the model, so that those of another model are refused. `Q`, `N` and `M` count queries, documents and a
selection of documents, `T` tokens, `D` dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.index.topk import TopK
from reasonir.inference.arguments import Queries, Strings, check_path, check_range, many_queries, many_strings
from reasonir.inference.loading import Device, check_encoder, read_encoder
from reasonir.inference.search_engine import SearchEngine
from reasonir.model.embedding_cache import identity_of
from reasonir.model.encoder import Encoder
from reasonir.model.sparse import rows_of
from reasonir.types import Corpus, PlainTexts, Side, Text
from reasonir.utils.files import atomic_folder, sha256
from reasonir.utils.tensor_files import read_tensors, write_tensors

VECTORS, DOCUMENTS = "vectors.safetensors", "documents.jsonl"
_BLOCK = 4096
_AGAIN = "save the documents again"


@dataclass(slots=True)
class Retriever(SearchEngine):
    """Search engine with an encoder.

    Attributes:
        encoder: whose head is a retriever.
    """

    encoder: Encoder
    _blocks: list[Representation] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        check_encoder(self.encoder, "retriever")

    @classmethod
    def load(cls, path: str | Path, *, device: Device = "cpu", trust_remote_code: bool = False) -> Retriever:
        """Load the retriever of a run's folder, an exported folder or a hub id; see `reasonir.load`.

        Raises:
            InputError: as `reasonir.load`; or it is no retriever.
        """
        return cls(read_encoder(path, device=device, trust_remote_code=trust_remote_code))

    def _index(self, texts: Sequence[str]) -> None:
        self._append([block for _, block in self.encoder.stream(PlainTexts(texts), "document")])

    def _append(self, blocks: Iterable[Representation]) -> None:
        """Add representations; small blocks are joined, so that many small additions don't slow the search."""
        for block in blocks:
            if self._blocks and len(self._blocks[-1]) + len(block) <= _BLOCK:
                self._blocks[-1] = Representation.join([self._blocks[-1], block])
            else:
                self._blocks.append(block)

    @torch.no_grad()
    def _search(self, queries: Sequence[Text], top_k: int) -> list[dict[str, float]]:
        names = [str(number) for number in range(len(queries))]
        none = [np.empty(0, dtype=np.int64)] * len(queries)
        best = TopK(names, self.encoder.encode(queries, "query"), self.encoder.head.score, none, top_k)
        start = 0
        for block in self._blocks:
            best.add(np.arange(start, start + len(block)), block)
            start += len(block)
        run = best.run(Corpus(list(self.documents), list(self.documents.values())))
        return [run[name] for name in names]

    @overload
    def encode(self, texts: Queries, side: Side = ..., *, to_numpy: Literal[False] = ...) -> Representation: ...
    @overload
    def encode(self, texts: Queries, side: Side = ..., *, to_numpy: Literal[True]) -> Any: ...
    def encode(self, texts: Queries, side: Side = "document", *, to_numpy: bool = False) -> Any:
        """Encode one text or many.

        Args:
            texts: with an instruction where they are `Text`.
            side: query or document, which have their own prompts and lengths.
            to_numpy: return float32 arrays.

        Returns:
            A `Representation`; with a single-vector head `values_TD` has one row per text. As NumPy, the array
            values_ND of a single-vector head, SciPy's `csr_array` of a sparse one, otherwise a list of one array per
            text with a row per token.

        Raises:
            InputError: something other than texts, or another side.
        """
        check_range("side", side, Side)
        check_range("to_numpy", to_numpy, bool)
        encoded = self.encoder.encode(many_queries(texts, "texts"), side)
        if not to_numpy:
            return encoded
        if self.encoder.head.sparse:
            return rows_of(encoded, self.encoder.head.size)
        values_TD = encoded.values_TD.float().cpu()
        if self.encoder.head.single_vector:
            return values_TD.numpy()
        return [vectors.numpy() for vectors in torch.split(values_TD, encoded.lengths_N.tolist())]

    @torch.no_grad()
    def score(self, queries: Queries, documents: Strings) -> Tensor:
        """Return scores_QN of queries and documents on the CPU; the documents needn't have been added.

        Raises:
            InputError: something other than texts.
        """
        texts = PlainTexts(many_strings(documents, "documents"))
        encoded = self.encoder.encode(many_queries(queries), "query"), self.encoder.encode(texts, "document")
        scores_QN: Tensor = self.encoder.head.score(*encoded)
        return scores_QN.float().cpu()

    def save(self, folder: str | Path) -> None:
        """Write the documents and their representations to a new folder; `load_index` reads them.

        Raises:
            InputError: there are no documents, or the folder exists.
        """
        folder = Path(check_path(folder)).expanduser()
        if not self._blocks:
            raise InputError(f"there are no documents to save to {folder}: add some first")
        if folder.exists():
            raise InputError(f"{folder} exists: give a new folder, or remove it")
        self.write_index(folder)

    def write_index(self, folder: Path) -> None:
        """Write what `save` does, in place of an earlier index."""
        whole = Representation.join(self._blocks)
        with atomic_folder(folder, replaces=True) as partial:
            with (partial / DOCUMENTS).open("w", encoding="utf-8") as stream:
                stream.writelines(
                    json.dumps({"id": doc_id, "text": text}) + "\n" for doc_id, text in self.documents.items()
                )
            tensors = {"values": whole.values_TD, "lengths": whole.lengths_N}
            if whole.terms_T is not None:
                tensors["terms"] = whole.terms_T
            metadata = {"model": identity_of(self.encoder), DOCUMENTS: sha256(partial / DOCUMENTS)}
            write_tensors(partial / VECTORS, tensors, metadata)

    def load_index(self, folder: str | Path) -> None:
        """Add the documents that `save` wrote, without encoding them.

        Raises:
            InputError: no documents were saved there, they are damaged or another model's, or an id is another text's.
        """
        folder = Path(check_path(folder)).expanduser()
        saved, metadata = _read_vectors(folder / VECTORS)
        if metadata.get("model", "") != identity_of(self.encoder):
            raise InputError(f"{folder} was saved by another model or other settings: add its documents again")
        rows = _read_documents(folder / DOCUMENTS)
        if len(rows) != len(saved):
            raise InputError(f"{folder} holds {len(rows)} documents and the vectors of {len(saved)}: save it again")
        if metadata.get(DOCUMENTS, digest := sha256(folder / DOCUMENTS)) != digest:
            raise InputError(f"{folder / DOCUMENTS} isn't as it was saved (its checksum differs): {_AGAIN}")
        new = self._new([doc_id for doc_id, _ in rows], [text for _, text in rows])
        saved = saved.to(device=self.encoder.device)
        rows_N = torch.tensor([row for row, (doc_id, _) in enumerate(rows) if doc_id in new], dtype=torch.int64)
        self._append([saved.take(chosen_M) for chosen_M in torch.split(rows_N, _BLOCK)])
        self._remember(new)


def _read_vectors(file: Path) -> tuple[Representation, Mapping[str, str]]:
    """Saved representations, and the metadata of their file."""
    if not file.is_file():
        raise InputError(f"{file.parent} holds no {file.name}: give a folder that Retriever.save wrote")
    tensors, metadata, _ = read_tensors(file, remedy=_AGAIN)
    if missing := {"values", "lengths"} - set(tensors):
        raise InputError(f"{file} has no tensor {min(missing)!r}: {_AGAIN}")
    saved = Representation(tensors["values"], tensors["lengths"], tensors.get("terms"))
    if (total := int(saved.lengths_N.sum())) != len(saved.values_TD):
        raise InputError(f"{file} has {len(saved.values_TD)} vectors, and lengths of {total}: {_AGAIN}")
    return saved, metadata


def _read_documents(file: Path) -> list[tuple[str, str]]:
    """(id, text) of every line."""
    from reasonir.data.files.records import read, text_of

    if not file.is_file():
        raise InputError(f"{file.parent} holds no {file.name}: give a folder that Retriever.save wrote")
    return [(text_of(record, "id"), text_of(record, "text")) for record in read(file)]
