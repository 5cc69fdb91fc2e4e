"""Publishing a run's model: the exported folder with its card, saved here or pushed to the hub, and read from there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from reasonir.errors import InputError
from reasonir.publishing.model_card import card_of
from reasonir.utils.files import atomic_path

if TYPE_CHECKING:
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def save(run: Path, folder: Path, *, name: str, licence: str | None = None) -> None:
    """Write the model of a finished run with its card to a new folder.

    Args:
        run: the run's folder.
        folder: written here.
        name: what the card opens the model by.
        licence: of the model, by the hub's names; None says nothing.

    Raises:
        InputError: the run has no exported model, or the folder is there already.
    """
    if not (run / "model").is_dir():
        raise InputError(f"run={run} has no exported model: let the run end (python -m reasonir.train resume={run})")
    if folder.exists():
        raise InputError(f"{folder} is there already: give a new folder, or remove it")
    with atomic_path(folder) as partial:
        shutil.copytree(run / "model", partial)
        (partial / "README.md").write_text(card_of(run, name, licence=licence), encoding="utf-8")


def push(folder: Path, to: str, *, private: bool = False) -> str:
    """Upload a saved folder as the model repository `to`, which is made if it isn't there.

    Returns:
        Its address.

    Raises:
        InputError: the hub doesn't take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        address = str(api.create_repo(to, private=private, exist_ok=True))
        api.upload_folder(repo_id=to, folder_path=folder, commit_message="Upload a model trained with reasonir")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"to={to}: the hub doesn't take it ({reason}): log in (hf auth login) and try again; what is to be "
            f"uploaded is in {folder}"
        ) from error
    return address


def load(
    repo: str, *, revision: str | None = None, device: str = "cpu", trust_remote_code: bool = False
) -> Retriever | Reranker | Pruner:
    """What was pushed, at a branch, tag or commit; `reasonir.load` takes the newest, and says what the others mean.

    Raises:
        InputError: the hub doesn't give it; or as `reasonir.load`.
    """
    from reasonir import inference
    from reasonir.model.download import locate

    folder = locate(repo, revision=revision, trust_remote_code=trust_remote_code)
    return inference.load(folder, device=device, trust_remote_code=trust_remote_code)


def check_name(to: str) -> None:
    """Refuse what can't be a repository.

    Raises:
        InputError: it isn't of the form user/name.
    """
    if not _REPOSITORY.fullmatch(to):
        raise InputError(f"to={to}: give the repository as user/name")
