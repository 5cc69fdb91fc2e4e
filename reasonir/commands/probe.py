"""Probe: two real training steps on this machine, to compare the plan's memory estimate with the measured peak.

Two optimiser steps, since optimiser states exist only from the second one on. No checkpoint and no tracked run are
written. Measured is the memory above the loaded model (gradients, states, activations, representations and scores),
and compared with the estimate without the weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace

from lightning import seed_everything

from reasonir.commands.compose import TrainParts
from reasonir.planning.plan import Plan
from reasonir.training.datamodule import RetrievalData
from reasonir.training.module import RetrieverModule
from reasonir.training.trainer import build_trainer
from reasonir.utils.memory_meter import GIB, Meter

_STEPS = 2


def probe(parts: TrainParts, data: RetrievalData, plan: Plan) -> Plan:
    """Return the plan with the estimated and measured GiB of a step, and their ratio.

    Args:
        parts: of the run, with planned lengths.
        data: after `setup`.
        plan: for this machine.
    """
    hardware = plan.fit.hardware
    seed_everything(parts.seed, workers=True, verbose=False)
    encoder = parts.model.load(seed=parts.seed)
    data.assemble = encoder.head.tokenizer.collate
    module = RetrieverModule(encoder, parts.objective, parts.optim, plan.budget, steps=_STEPS, seed=parts.seed)
    with tempfile.TemporaryDirectory() as folder:
        options = replace(parts.trainer, max_steps=_STEPS, max_epochs=-1)
        trainer = build_trainer(options, hardware, logger=False, default_root_dir=folder)
        encoder.to(hardware.torch_device)
        meter = Meter(encoder.device)
        trainer.fit(module, datamodule=data)
        measured = meter.peak_gib
    estimated = (plan.fit.cost.total - plan.trace.weights) / GIB
    return replace(
        plan,
        measured={
            "estimated_gib": estimated,
            "measured_gib": measured,
            "estimated_over_measured": estimated / measured,
        },
    )
