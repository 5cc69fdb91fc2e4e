"""Local paths of data given as a folder, file or hub id."""

from __future__ import annotations

from pathlib import Path

from reasonir.errors import InputError, NotHereError
from reasonir.utils.hub import snapshot


def local_data(path: str, *, revision: str | None = None, key: str = "data.path") -> Path:
    """Return the local file or folder behind `path`; a hub id is downloaded unless it is in the hub's cache.

    Args:
        path: a file, a folder, or the id of a dataset repository on the hub.
        revision: branch, tag or commit of a hub id.
        key: the configuration key that holds the path, for messages.

    Raises:
        InputError: the file doesn't exist.
        NotHereError: the repository is neither cached nor available on the hub.
    """
    local = Path(path).expanduser()
    if local.exists():
        return local
    check_is_id(path, key=key)
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return snapshot(path, repo_type="dataset", revision=revision)
    except (OSError, HfHubHTTPError) as error:
        raise not_here(path, error, key=key) from error


def check_is_id(path: str, *, key: str = "data.path") -> None:
    """Check that a path that doesn't exist can be a hub id.

    Raises:
        InputError: it can't.
    """
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise InputError(f"{key}={path} doesn't exist: give a file, a folder, or a hub id (owner/name)")


def not_here(path: str, error: Exception, *, key: str = "data.path") -> NotHereError:
    """Return the error of a repository that is neither cached nor available on the hub."""
    from huggingface_hub import constants

    reason = str(error).splitlines()[0][:120]
    return NotHereError(
        f"{key}={path} is no file or folder here, isn't in the hub cache ({constants.HF_HUB_CACHE}), and can't be "
        f"downloaded ({reason}): check the spelling, or download it on a machine with network access "
        f"(hf download --repo-type dataset {path})"
    )
