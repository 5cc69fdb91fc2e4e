"""Snapshots of repositories on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def snapshot(repo: str, **options: Any) -> Path:
    """Return the folder of a repository's snapshot, downloaded unless the hub doesn't answer and the cache has it.

    Args:
        repo: owner/name.
        options: of `huggingface_hub.snapshot_download`.

    Raises:
        HfHubHTTPError: the hub has no such repository or revision.
        LocalEntryNotFoundError: the hub doesn't answer, and the cache doesn't have it.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    offline = {"local_files_only": constants.HF_HUB_OFFLINE} | options
    try:
        return Path(snapshot_download(repo, **offline))
    except HfHubHTTPError:
        raise
    except http_error():  # a pinned commit's files are listed by the hub, unless this client listed them before
        return Path(snapshot_download(repo, **{**offline, "local_files_only": True}))


def http_error() -> Any:
    """Return the base of the HTTP client's errors and of `HfHubHTTPError`; huggingface_hub 2 has it in httpx2."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]
