"""Files of a data set by subset and split: in a folder, or in a dataset repository on the hub.

Subsets and splits are those that the repository's README.md declares (`configs`, as `datasets` reads them); without
it, folders are subsets, and names tell the split: train.jsonl, data/train-00000-of-00001.parquet, train/part-0.parquet.
Where no file's name tells a split, all tables are training rows. Of a repository on the hub only the chosen files are
downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

from reasonir.data.files.hub import check_is_id, not_here
from reasonir.data.files.records import is_table
from reasonir.errors import InputError
from reasonir.utils.hub import http_error, snapshot

README = "README.md"
_SPLITS = ("train", "validation", "valid", "dev", "test", "eval")


class Patterns(NamedTuple):
    """Glob patterns of each split of a configuration, whether it declares any, and whether it is the default."""

    by_split: Mapping[str, list[str]]
    splits: bool
    default: bool


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """Files of one split of one subset.

    Attributes:
        repository: hub id of files that aren't on this machine, else None.
        revision: of the repository as it was given, for downloads, which note what a branch pointed to.
        commit: of the repository, else empty.
        folder: of the files that are here.
        names: paths in the repository or folder.
    """

    repository: str | None
    revision: str | None
    commit: str
    folder: Path
    names: tuple[str, ...]

    def stamp(self) -> dict[str, Any]:
        """Return what tells the files from others without reading them: the commit, or the sizes of local files."""
        if self.repository:
            return {"commit": self.commit, "names": list(self.names)}
        return {name: (self.folder / name).stat().st_size for name in self.names}

    def local(self) -> list[Path]:
        """Return the files on this machine, downloaded if they aren't here."""
        if not self.repository:
            return [self.folder / name for name in self.names]
        from huggingface_hub.errors import HfHubHTTPError

        patterns = [*map(escape, self.names)]
        try:
            folder = snapshot(self.repository, repo_type="dataset", revision=self.revision, allow_patterns=patterns)
        except (OSError, HfHubHTTPError) as error:
            raise not_here(self.repository, error) from error
        return [folder / name for name in self.names]

    def addresses(self) -> list[str]:
        """Return a path or hub address of each file, for reading without a download."""
        root = f"hf://datasets/{self.repository}@{self.commit}" if self.repository else str(self.folder)
        return [f"{root}/{name}" for name in self.names]


def dataset_files(path: str, *, split: str, subset: str | None = None, revision: str | None = None) -> DatasetFiles:
    """Return the files of a split.

    Args:
        path: a file, a folder, or the id of a dataset repository on the hub.
        split: name of the split.
        subset: of several sets in one repository or folder; None where there is one.
        revision: branch, tag or commit of a hub id.

    Raises:
        InputError: there is no such file, subset or split; names those that there are.
        NotHereError: the repository is neither cached nor available on the hub.
    """
    local = Path(path).expanduser()
    if local.is_file():
        if subset:
            raise InputError(f"data.subset={subset}: data.path={path} is a file, which has no subsets: omit the subset")
        return DatasetFiles(None, None, "", local.parent, (local.name,))
    if not local.exists() and (listed := _listed(path, revision)):
        commit, names = listed
        card = [name for name in names if name == README]
        readme = DatasetFiles(path, revision, commit, local, tuple(card)).local() if card else []
        return DatasetFiles(path, revision, commit, local, _chosen(names, _configurations(readme), path, split, subset))
    folder = local if local.exists() else _cached(path, revision)
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    readme = [folder / README] if README in names else []
    return DatasetFiles(None, None, "", folder, _chosen(names, _configurations(readme), path, split, subset))


def _cached(path: str, revision: str | None) -> Path:
    """Return the folder of a repository's snapshot in the hub's cache, which may have some of its files only."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return snapshot(path, repo_type="dataset", revision=revision, local_files_only=True, allow_patterns=[README])
    except (OSError, HfHubHTTPError) as error:
        raise not_here(path, error) from error


@lru_cache(maxsize=64)
def _listed(path: str, revision: str | None) -> tuple[str, list[str]] | None:
    """Return the commit and the files of a repository; None if the hub doesn't answer.

    Asked once per process, so that a branch that moves meanwhile gives a command one set of files.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    check_is_id(path)
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        info = HfApi().dataset_info(path, revision=revision)
    except HfHubHTTPError as error:
        raise not_here(path, error) from error
    except http_error():
        return None
    return str(info.sha), sorted(sibling.rfilename for sibling in info.siblings or ())


def _configurations(readme: Sequence[Path]) -> Mapping[str, Patterns]:
    """Return the configurations that a README.md declares, by name."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    for file in readme:
        try:
            declared = (metadata_load(file) or {}).get("configs")
        except (YAMLError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{file}: its header isn't readable YAML ({reason}): fix it") from error
        if isinstance(declared, list):
            each_by_name = {
                str(each.get("config_name", "default")): each for each in declared if isinstance(each, dict)
            }
            return {name: _patterns(each, f"{file}: the configuration {name}") for name, each in each_by_name.items()}
    return {}


def _patterns(configuration: Mapping[str, Any], what: str) -> Patterns:
    """Return the glob patterns of each split, in the order of the declaration."""
    folder = str(configuration.get("data_dir") or "").strip("/")
    root = f"{folder}/" if folder else ""
    declared = configuration.get("data_files")
    by_split: dict[str, list[str]] = {}
    for each in declared if isinstance(declared, list) else [declared or "**"]:
        entry = each if isinstance(each, dict) else {"path": each}
        split, given = str(entry.get("split", "train")), entry.get("path")
        patterns = [pattern for pattern in (given if isinstance(given, list) else [given]) if isinstance(pattern, str)]
        if not patterns:
            raise InputError(f"{what} declares no path for its split {split}: fix it, or give a folder without it")
        by_split.setdefault(split, []).extend(root + pattern.removeprefix("./") for pattern in patterns)
    return Patterns(by_split, bool(declared), configuration.get("default") is True)


def _chosen(
    names: Sequence[str], configurations: Mapping[str, Patterns], path: str, split: str, subset: str | None
) -> tuple[str, ...]:
    tables = [name for name in names if is_table(Path(name)) and not name.startswith(".")]
    if subset is None and configurations:
        subset = _only(configurations, path)
    if subset in configurations:
        by_split = _declared(tables, configurations[str(subset)])
    elif subset and any(name.startswith(f"{subset}/") for name in tables):
        root = f"{subset}/"
        by_split = _found([name.removeprefix(root) for name in tables if name.startswith(root)], split, path)
        by_split = {each: [root + name for name in found] for each, found in by_split.items()}
    elif subset:
        known = ", ".join([*configurations] or _folders(tables)) or "none"
        raise InputError(f"data.subset={subset}: {path} has no such subset (it has {known}): choose another")
    else:
        by_split = _found(tables, split, path)
    if files := by_split.get(split):
        return tuple(files)
    known = ", ".join(each for each, found in by_split.items() if found) or ", ".join(names[:8]) or "nothing"
    where = f"{path}, subset {subset}," if subset else path
    raise InputError(f"data.split={split}: {where} has no such file (it has {known}): choose another")


def _only(configurations: Mapping[str, Patterns], path: str) -> str:
    """Return the default configuration, or the only one."""
    default = [name for name, each in configurations.items() if each.default or name == "default"]
    if len(default or configurations) == 1:
        return next(iter(default or configurations))
    raise InputError(f"data.path={path} holds several sets: choose data.subset from {', '.join(configurations)}")


def _declared(tables: Sequence[str], patterns: Patterns) -> dict[str, list[str]]:
    """Return the files of each split that a configuration declares."""
    found = {split: _matching(tables, given) for split, given in patterns.by_split.items()}
    return found if patterns.splits else _by_name(found["train"])


def _found(tables: Sequence[str], split: str, path: str) -> dict[str, list[str]]:
    """Return the files of each split, by their names: exact ones, or in folders, or with the split in their name."""
    word = re.escape(split)
    for pattern in (
        rf"(data/)?{word}\.[^/]+",
        rf"(data/)?{word}-[^/]+",
        rf"(data/)?{word}/[^/]+",
        rf"[^/]+/{word}([.-][^/]+|/[^/]+)",
    ):
        if files := [name for name in tables if re.fullmatch(pattern, name, re.IGNORECASE)]:
            folders = {name.split("/")[0] for name in files} if pattern.startswith("[") else set()
            if len(folders) > 1:
                raise InputError(
                    f"data.path={path} holds several sets: choose data.subset from {', '.join(sorted(folders))}"
                )
            return {split: files}
    return _by_name([name for name in tables if "/" not in name.removeprefix("data/")])


def _by_name(tables: Iterable[str]) -> dict[str, list[str]]:
    """Return the files by the split that their names contain; those of a set without any are training rows."""
    by_split: dict[str, list[str]] = {}
    for name in tables:
        words = re.split(r"[^a-z0-9]+", name.lower())
        by_split.setdefault(next((split for split in _SPLITS if split in words), ""), []).append(name)
    if list(by_split) == [""]:
        return {"train": by_split[""]}
    return {split: files for split, files in by_split.items() if split}


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that match a glob, in which only ** crosses folders."""
    from fsspec.utils import glob_translate

    expressions = [re.compile(glob_translate(pattern)) for pattern in patterns]
    return [name for name in names if any(expression.match(name) for expression in expressions)]


def _folders(names: Iterable[str]) -> list[str]:
    return sorted({name.split("/")[0] for name in names if "/" in name})
