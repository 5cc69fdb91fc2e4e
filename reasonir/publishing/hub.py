"""Hugging Face Hub: save a run's model with its card, upload it, and load it again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reasonir.errors import InputError
from reasonir.publishing.graphs import check_backends, write_graphs
from reasonir.publishing.measured import Measured
from reasonir.publishing.model_card import card_of
from reasonir.utils.command_line import command_line, override
from reasonir.utils.files import PARTIAL, atomic_folder

if TYPE_CHECKING:
    from reasonir.inference.loading import Device
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def save(
    run: Path,
    folder: Path,
    *,
    name: str,
    licence: str | None = None,
    measured: Measured | None = None,
    backends: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> None:
    """Write the model of a finished run with its card to a new folder.

    Args:
        run: the run's folder.
        folder: to write.
        name: of the model in the card: user/name or a folder.
        licence: of the model, by the hub's names; None for none.
        measured: what was measured for the card.
        backends: other runtimes to write graphs for: onnx, openvino.
        trust_remote_code: run Python code in the checkpoint, to write graphs.

    Raises:
        InputError: the run has no exported model, the folder exists, or a graph can't be written or isn't the model.
    """
    check_backends(backends)
    refuse_unfinished(run)
    if folder.exists():
        raise InputError(f"{folder} exists: give a new folder, or remove it")
    with atomic_folder(folder) as partial:
        shutil.copytree(run / "model", partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns(f"*{PARTIAL}*"))
        texts = measured or Measured()
        graphs = (
            write_graphs(
                run,
                partial,
                backends=backends,
                queries=texts.queries,
                documents=texts.documents,
                trust_remote_code=trust_remote_code,
            )
            if backends
            else ()
        )
        card = card_of(run, name, licence=licence, measured=measured, graphs=graphs)
        (partial / "README.md").write_text(card, encoding="utf-8")


def refuse_unfinished(run: Path) -> None:
    """Refuse a run without an exported model.

    Raises:
        InputError: naming the command that finishes it.
    """
    if not (run / "model").is_dir():
        command = command_line("train", override("resume", run))
        raise InputError(f"run={run} has no exported model: finish the run ({command})")


def push(folder: Path, to: str, *, private: bool = False) -> str:
    """Upload a saved folder to the model repository `to`, which is created if it doesn't exist.

    Returns:
        The repository's URL.

    Raises:
        InputError: the hub refuses the upload.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        address = str(api.create_repo(to, private=private, exist_ok=True))
        message, ignored = "Upload a model trained with reasonir", [f"*{PARTIAL}*"]
        api.upload_folder(repo_id=to, folder_path=folder, commit_message=message, ignore_patterns=ignored)
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"to={to}: the hub refuses the upload ({reason}): log in (hf auth login) and try again; the model is in "
            f"{folder}"
        ) from error
    return address


def load(
    repo: str, *, revision: str | None = None, device: Device = "cpu", trust_remote_code: bool = False
) -> Retriever | Reranker | Pruner:
    """Load a model of the hub at a branch, tag or commit; `reasonir.load` takes the newest one.

    Raises:
        InputError: the hub doesn't have it; or as `reasonir.load`.
    """
    from reasonir import inference
    from reasonir.model.download import locate

    folder = locate(repo, revision=revision, trust_remote_code=trust_remote_code)
    return inference.load(folder, device=device, trust_remote_code=trust_remote_code)


def check_name(to: str) -> None:
    """Refuse a repository name that isn't user/name.

    Raises:
        InputError: naming the value.
    """
    if not _REPOSITORY.fullmatch(to):
        raise InputError(f"to={to}: give the repository as user/name")
