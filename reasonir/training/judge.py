"""Judging a tracked run, or a model as it is, on a benchmark: the same evaluation that ends a training run."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from reasonir.config import build
from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.model.lora import LoRA
from reasonir.training.display import show
from reasonir.training.evaluation import Evaluation, read_tasks, table
from reasonir.training.hardware import Hardware
from reasonir.training.run import quiet_libraries, require, stamp, track_results
from reasonir.training.tracking import Tracking, folder_of_run, open_tracking

log = logging.getLogger(__name__)


def evaluate(config: DictConfig, folder: Path) -> None:
    """Judge `config.run` (or, without one, `config.model` as it is) and write the results to `folder`.

    Figures of a run that MLflow knows are added to it.

    Raises:
        InputError: there is no such run, it has no exported model, or whatever else can't be used.
    """
    quiet_libraries()
    home = Path(config.home)
    source = folder_of_run(str(config.run), home) if config.run else None
    untrained, trained = _models(config, source)
    hardware: Hardware = build(config.hardware)
    options = build(config.evaluation)
    wants_untrained = source is None or "untrained" in options.baselines
    require(
        hardware.missing,
        *([untrained.locate] if wants_untrained else []),
        *([trained.locate] if trained else []),
    )
    hardware = hardware.resolve()
    tasks = read_tasks(build(config.eval).tasks())
    seed_everything(config.seed, workers=True, verbose=False)
    seed = config.seed if source is None else _saved(source).seed
    first = untrained.load(seed=seed).to(hardware.torch_device) if wants_untrained else None
    judged = trained.load(seed=seed).to(hardware.torch_device) if trained else first
    assert judged is not None
    protocol = {"model": (trained or untrained).path, **stamp(judged, hardware), "seed": config.seed}
    evaluation = Evaluation(tasks, options, build(config.index), folder, protocol, config.seed)
    name = "untrained" if trained is None else "trained"
    if trained is None:
        evaluation.options = replace(options, baselines=[n for n in options.baselines if n != "untrained"])
    evaluation.baselines(first)
    evaluation.judge(judged, name)
    tracking = _tracking(config, source, folder)
    track_results(evaluation.results, name, folder, tracking)
    tracking.end("FINISHED")
    show(table(evaluation.results, name))
    log.info("Everything is in %s", folder)


def _models(config: DictConfig, source: Path | None) -> tuple[Model, Model | None]:
    """(the model before training, the trained one or None where there is no run)."""
    if source is None:
        if config.get("model") is None:
            raise InputError("nothing to evaluate: name a run (run=outputs/...) or a model (model=minilm)")
        return build(config.model), None
    untrained: Model = build(_saved(source).model)
    exported = source / "model"
    if not exported.is_dir():
        raise InputError(
            f"run={config.run}: {source} has no exported model: let the run end "
            f"(python -m reasonir.train resume={source})"
        )
    options: dict[str, Any] = {
        "path": str(exported),
        "prompts": untrained.prompts,
        "lora": LoRA(),
        "freeze_layers": 0,
    }
    trained = Model(head=untrained.head, attention=untrained.attention, **options)
    return untrained, trained


def _saved(source: Path) -> DictConfig:
    file = source / "config.yaml"
    if not file.is_file():
        raise InputError(f"{source} is no tracked run: it has no config.yaml")
    saved = OmegaConf.load(file)
    assert isinstance(saved, DictConfig)
    return saved


def _tracking(config: DictConfig, source: Path | None, folder: Path) -> Tracking:
    """The run that is judged, continued, where MLflow knows it; otherwise one for this evaluation."""
    known = source / "run_id" if source else None
    return open_tracking(
        config.logger,
        Path(config.home),
        project=config.project,
        name=f"evaluate-{folder.name}",
        folder=source or folder,
        tags={key: str(value) for key, value in config.tags.items()},
        run_id=known.read_text() if known and known.is_file() else None,
    )
