"""A probe: real training steps on the present device, to hold the plan's estimate against what they need.

Two optimiser steps, since only from the second one on do the optimiser's states stand beside the activations; after
them nothing is left, no checkpoint and no tracked run. What is measured is what came above the loaded model: gradients,
states, activations, representations and scores, which the estimate says without the weights themselves.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

from lightning import seed_everything

from reasonir.commands.compose import TrainParts
from reasonir.planning.memory import FLOAT
from reasonir.planning.plan import Plan
from reasonir.training.datamodule import RetrievalData
from reasonir.training.module import RetrieverModule
from reasonir.training.trainer import build_trainer
from reasonir.utils.memory_meter import GIB, Meter

_STEPS = 2


def probe(parts: TrainParts, data: RetrievalData, plan: Plan) -> Plan:
    """The plan with what a step needs here: `estimated_gib`, `measured_gib` and their ratio.

    Args:
        parts: of the run, with the lengths that are planned.
        data: set up.
        plan: of the present device.
    """
    hardware = plan.fit.hardware
    seed_everything(parts.seed, workers=True, verbose=False)
    encoder = parts.model.load(seed=parts.seed)
    data.assemble = encoder.head.tokenizer.collate
    module = RetrieverModule(encoder, parts.objective, parts.optim, plan.budget, steps=_STEPS, seed=parts.seed)
    with tempfile.TemporaryDirectory() as place:
        trainer = build_trainer(
            parts.trainer, hardware, max_steps=_STEPS, max_epochs=-1, logger=False, default_root_dir=place
        )
        encoder.to(hardware.torch_device)
        meter = Meter(encoder.device)
        trainer.fit(module, datamodule=data)
        measured = meter.peak_gib
    weights = plan.training.shape.parameters * FLOAT
    estimated = (plan.fit.cost.total - weights) / GIB
    return replace(
        plan,
        measured={
            "estimated_gib": estimated,
            "measured_gib": measured,
            "estimated_over_measured": estimated / measured,
        },
    )
