"""Checkpoints and runs whose files would run code that leaves a file: what nobody may load without trusting it."""

import json
import pickle
import shutil
from itertools import count
from pathlib import Path

import torch
import yaml

from reasonir.model.manifest import MANIFEST, finish


class Hostile:
    """Makes folders whose code writes `marker`."""

    made = count()

    def __init__(self, place: Path) -> None:
        self.place = place
        self.marker = place / "marker"
        longer = "#" * next(self.made)  # of another size each time: Python's own cache goes by size and time
        self.code = f"open({str(self.marker)!r}, 'w').close()\nclass Evil: ...\n{longer}\n"
        self.pickle = place / "payload.pt"
        torch.save(self, self.pickle)
        (place / "payload.pkl").write_bytes(pickle.dumps(self))

    def __reduce__(self):
        return open, (str(self.marker), "w")

    def __call__(self, source: Path, name: str = "hostile") -> Path:
        """A copy of a checkpoint with evil.py in it, which doesn't say that it is an export."""
        folder = self._copy(source, name)
        (folder / MANIFEST).unlink(missing_ok=True)
        return folder

    def _copy(self, source: Path, name: str) -> Path:
        folder = self.place / name
        shutil.copytree(source, folder)
        (folder / "evil.py").write_text(self.code)
        return folder

    def run(
        self,
        export: Path,
        *,
        model: dict | None = None,
        data: dict | None = None,
        evaluation: dict | None = None,
        name: str = "run",
    ) -> Path:
        """The folder of a finished run on the demo with this export, its configuration changed."""
        folder = self._copy(export, f"{name}/model").parent
        config = {
            "seed": 1,
            "model": {**MODEL, "path": str(export), **(model or {})},
            "data": data or DATA,
            "eval": evaluation or {},
            "loader": {},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    def calls(self, target: str = "torch.load") -> dict:
        """A node that unpickles the payload."""
        return {"_target_": target, "f": str(self.pickle), "weights_only": False}

    @property
    def done(self) -> bool:
        """Return True if the code has run, and reset."""
        done = self.marker.exists()
        self.marker.unlink(missing_ok=True)
        return done


MODEL = {
    "_target_": "reasonir.model.backbone.Model",
    "head": {"_target_": "reasonir.model.head.biencoder.BiEncoder.load", "_partial_": True, "max_length": 48},
    "prompts": {"_target_": "reasonir.model.prompts.Prompts"},
    "lora": {"_target_": "reasonir.model.lora.LoRA"},
}
DATA = {"_target_": "reasonir.data.demo.Demo", "variants": 1}


def edit(file: Path, **change) -> None:
    """Change keys of a JSON file, which needn't be there."""
    values = json.loads(file.read_text()) if file.is_file() else {}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**values, **change}))


def sign(export: Path) -> None:
    """List the files of an export as they are now, which whoever changes them can do as well."""
    finish(export, {})


def add_module(folder: Path, kind: str, path: str = "") -> None:
    """Add a module to those that sentence-transformers opens."""
    file = folder / "modules.json"
    modules = json.loads(file.read_text())
    file.write_text(json.dumps([*modules, {"idx": len(modules), "name": "last", "path": path, "type": kind}]))
