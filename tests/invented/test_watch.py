"""A traced training names the lines that wait for the device, mix devices or leave the number format."""

import logging

import pytest
import torch
from lightning import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.invented.watch import watched
from reasonir.training.options import TrainerOptions
from reasonir.training.trainer import build_trainer

T4 = Hardware("t4", "cuda", precision="16-mixed", memory_gib=15, attention="sdpa", traced=True)


class Module(LightningModule):
    """One linear layer; `mistake` is made in every step."""

    def __init__(self, mistake):
        super().__init__()
        self.net, self.mistake = nn.Linear(4, 1), mistake

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        """Copy without waiting."""
        return batch.to(device, non_blocking=True)

    def training_step(self, batch, batch_idx):
        """Return a loss."""
        loss = self.net(batch).float().square().mean()
        return loss + 0 * self.mistake(loss, batch)

    def configure_optimizers(self):
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=0.1, fused=True)


def nothing(loss, batch):
    return loss


def waits(loss, batch):
    return loss.item()


def selects(loss, batch):
    return batch[batch > 0].sum()


def copies(loss, batch):
    return loss * torch.ones(3, device=loss.device).sum() + torch.tensor([1.0, 2.0]).to(loss.device).sum()


def doubles(loss, batch):
    return batch.double().sum().float()


def emulates(loss, batch):
    return batch.to(torch.bfloat16).sum().float()


def mixes(loss, batch):
    return (batch + torch.ones(2, 4)).sum()


def train(mistake, tmp_path, hardware=T4, steps=2):
    resolved = hardware.resolve()
    with watched(resolved):
        trainer = build_trainer(
            TrainerOptions(gradient_clip_val=None), resolved, logger=False, default_root_dir=str(tmp_path)
        )
        trainer.fit(Module(mistake), DataLoader([torch.randn(2, 4)] * steps, batch_size=None))
    return trainer


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (waits, "_local_scalar_dense waits for the device (2 times)"),
        (selects, "index waits for the device (2 times)"),
        (copies, "_to_copy waits for the device (2 times)"),
        (doubles, "numbers in float64 (2 times)"),
        (emulates, "numbers in bfloat16 (2 times)"),
    ],
)
def test_mistakes_are_named_with_their_lines(mistake, told, tmp_path):
    with pytest.raises(InputError) as refused:
        train(mistake, tmp_path)
    line = mistake.__code__.co_firstlineno + 1
    assert f"tests/invented/test_watch.py:{line}: {told}" in str(refused.value)


def test_mixed_devices_end_the_run_at_their_line(tmp_path):
    with pytest.raises(RuntimeError, match="same device, but add got invented:0 and cpu") as refused:
        train(mixes, tmp_path)
    assert "mixes" in [entry.name for entry in refused.traceback]


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_a_sound_training_is_traced_in_every_precision(precision, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = train(nothing, tmp_path, Hardware("a100", "cuda", precision=precision, memory_gib=39, traced=True))
    assert trainer.global_step == 2
    assert trainer.precision == precision
    assert f"Traced a100 in {precision} without the card" in caplog.text


def test_a_trace_takes_the_place_of_one_cuda_card():
    several = Hardware("ddp", "cuda", devices=-1, nodes=2, strategy="ddp", memory_gib=15, traced=True)
    assert several.missing() is None
    resolved = several.resolve()
    assert (resolved.ranks, resolved.strategy, resolved.precision) == (1, "auto", "bf16-mixed")
    assert (resolved.accelerator, resolved.torch_device) == ("cuda", "invented")
    for accelerator in ("cpu", "mps"):
        with pytest.raises(
            InputError, match="the invented device takes the place of a GPU, not of it: choose hardware=t4"
        ):
            Hardware("it", accelerator, traced=True)
