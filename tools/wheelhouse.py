"""Write a folder of wheels for a proof on a machine without a network: make wheelhouse.

The machine is taken to have torch and transformers, with all that they need. The wheels are what this package and its
tests import in a proof beyond that, in the versions of requirements.lock and checked by its hashes; the subfolder
`peers` holds what requirements-peers.lock adds. Which package needs which is read from the installed ones, so this runs
in .venv.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).resolve().parents[1]
PRESENT = ("torch", "transformers")
"""What the machine has."""
EXACT = ("huggingface-hub", "tokenizers", "transformers")
"""Of that, what is brought all the same, since this package needs the version of the lock."""
UNUSED = ("faiss-cpu", "fast-plaid", "mlflow", "starlette", "usearch", "uvicorn")
"""What no part of a proof imports."""
GLIBC = range(5, 36)
"""Minor versions of glibc 2 that wheels may ask for; Ubuntu 22.04 has 2.35."""


def main() -> None:
    """Write the folder and print its size."""
    parser = argparse.ArgumentParser(description="Write a folder of wheels for make proof WHEELHOUSE=...")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python-version", default="3.12")
    parser.add_argument("--present", type=Path, help="what else the machine has: output of its pip freeze")
    given = parser.parse_args()
    target = environment(given.python_version)
    present = versions(given.present.read_text(encoding="utf-8")) if given.present else {}
    wanted = needed(target, present)
    peers = {"sentence-transformers"} | (
        set(pins("requirements-peers.lock", target)) - wanted - set(present) - closure(PRESENT, target)
    )
    for folder, lock, names in (
        (given.folder, "requirements.lock", wanted),
        (given.folder / "peers", "requirements-peers.lock", peers),
    ):
        download(folder, [pin for name, pin in pins(lock, target).items() if name in names], target)
    wheels = sorted(given.folder.rglob("*.whl"), key=lambda file: -file.stat().st_size)
    for file in wheels[:5]:
        print(f"{file.stat().st_size / 2**20:6.1f} MiB  {file.name}")
    total = sum(file.stat().st_size for file in wheels) / 2**20
    print(f"{total:6.1f} MiB  in {len(wheels)} wheels: {given.folder}")


def environment(python_version: str) -> dict[str, str]:
    """Return the values of environment markers on Linux on x86_64; for others some packages have no wheels."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python_version}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python_version}.0",
        "python_version": python_version,
        "sys_platform": "linux",
    }


def needed(target: Mapping[str, str], present: Mapping[str, str]) -> set[str]:
    """Return the names of the distributions to bring.

    Args:
        target: environment markers of the machine.
        present: versions of what it has besides torch and transformers; those that suit aren't brought.
    """
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [Requirement(text) for text in project["dependencies"]]
    found = closure([*(requirement.name for requirement in own), "pytest"], target)
    found -= closure(PRESENT, target) - set(EXACT)
    asked = [*own, *(each for name in found for each in requirements(name, target))]
    return {
        name
        for name in found
        if name not in present
        or not all(
            each.specifier.contains(present[name], prereleases=True)
            for each in asked
            if canonicalize_name(each.name) == name
        )
    }


def closure(roots: Iterable[str], target: Mapping[str, str]) -> set[str]:
    """Return distributions with all that they need on the machine, without the unused ones."""
    found: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(root), "") for root in roots]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in found and name not in UNUSED:
            found.add((name, extra))
            for each in requirements(name, target, extra):
                waiting += [(canonicalize_name(each.name), chosen) for chosen in ("", *each.extras)]
    return {name for name, _ in found}


def requirements(name: str, target: Mapping[str, str], extra: str = "") -> Iterator[Requirement]:
    """Yield what an installed distribution needs on the machine; nothing for one that isn't installed here."""
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in texts:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({**target, "extra": extra}):
            yield requirement


def pins(lock: str, target: Mapping[str, str]) -> dict[str, str]:
    """Return a lock's entries for the machine by name: version and hashes, as pip reads them."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (TREE / lock).read_text(encoding="utf-8").strip()):
        first, *hashes = entry.replace("\\\n", "\n").splitlines()
        pin, _, marker = first.partition(";")
        if not marker or Marker(marker).evaluate(dict(target)):
            found[canonicalize_name(pin.partition("==")[0])] = " ".join([pin.strip(), *map(str.strip, hashes)])
    return found


def versions(freeze: str) -> dict[str, str]:
    """Return versions by name from the output of pip freeze, without those installed from an address or a folder."""
    return {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", freeze)}


def download(folder: Path, entries: Iterable[str], target: Mapping[str, str]) -> None:
    """Replace a folder's wheels by those for the machine; pure Python that is published as source is built."""
    python = target["python_version"]
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in reversed(GLIBC)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    with TemporaryDirectory() as scratch:
        listed, fresh = Path(scratch, "requirements.txt"), Path(scratch, "wheels")
        listed.write_text("\n".join(entries), encoding="utf-8")
        given = [f"--python-version={python}", "--implementation=cp", f"--abi=cp{python.replace('.', '')}"]
        given += ["--abi=abi3", "--abi=none", *(f"--platform={name}" for name in platforms)]
        pip("download", "--require-hashes", f"--requirement={listed}", f"--dest={fresh}", *given)
        for source in [file for file in fresh.iterdir() if file.suffix != ".whl"]:
            pip("wheel", f"--wheel-dir={fresh / 'built'}", str(source))
        wheels = [*fresh.glob("*.whl"), *fresh.glob("built/*.whl")]
        if compiled := [file.name for file in fresh.glob("built/*.whl") if not file.name.endswith("-none-any.whl")]:
            sys.exit(f"there are no wheels for Python {python}, only this machine's: {', '.join(compiled)}")
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.whl"):
            stale.unlink()
        for file in wheels:
            shutil.move(file, folder)


def pip(command: str, *arguments: str) -> None:
    """Run a command of pip without dependencies; end with its status if it fails."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps")
    status = subprocess.run([sys.executable, "-m", "pip", command, *quiet, *arguments], check=False).returncode
    if status:
        sys.exit(f"pip {command} failed: see above")


if __name__ == "__main__":
    main()
