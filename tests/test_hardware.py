"""Profiles against what their cards can do, and what is chosen on the device that is present."""

import re
from pathlib import Path

import pytest
import torch

from reasonir.cli.configuration import build
from reasonir.config import CONF
from reasonir.hardware import Hardware

PROFILES = sorted(file.stem for file in (CONF / "hardware").glob("*.yaml"))
T4, V100, A100, H100, RTX5090 = (7, 5), (7, 0), (8, 0), (9, 0), (12, 0)


def documented():
    """docs/hardware.md's table: (compute capability or None, precision, others, attention) by profile."""
    text = (Path(__file__).parents[1] / "docs" / "hardware.md").read_text()
    rows = {}
    for line in text.partition("## Attention")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            profile, _, capability, precision, others, attention = cells
            names = [re.findall(r"`([\w-]+)`", cell) for cell in (profile, precision, others, attention)]
            numbers = tuple(map(int, capability.split("."))) if capability else None
            rows[names[0][0]] = numbers, names[1][0], set(names[2]), names[3][0]
    return rows


@pytest.fixture
def gpu(monkeypatch):
    """Makes torch see GPUs of a compute capability."""

    def see(capability, *, count=1):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
        properties = type("Properties", (), {"total_memory": 15 * 2**30})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: properties)

    return see


def test_every_profile_is_documented():
    assert set(documented()) == set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_states_what_its_card_can_do(composed, profile):
    capability, precision, others, attention = documented()[profile]
    hardware = build(composed("train", f"hardware={profile}").hardware)
    assert (hardware.precision, hardware.attention) == (precision, attention)
    assert set(hardware.supported_precisions) == (others | {precision}) - {"auto"}
    if capability is not None:
        assert ("bf16-mixed" in hardware.supported_precisions) == (capability >= (8, 0))
        assert (precision == "bf16-mixed") == (attention == "varlen") == (capability >= (8, 0))


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(V100, "16-mixed"), (T4, "16-mixed"), (A100, "bf16-mixed"), (H100, "bf16-mixed"), (RTX5090, "bf16-mixed")],
)
@pytest.mark.parametrize(("profile", "devices"), [("auto", 1), ("ddp", 4)])
def test_auto_takes_the_best_format_of_the_gpu_that_is_there(
    composed, gpu, caplog, profile, devices, capability, precision
):
    gpu(capability, count=4)
    found = build(composed("train", f"hardware={profile}").hardware).resolve()
    assert (found.accelerator, found.precision, found.devices) == ("cuda", precision, devices)
    assert found.memory_gib == 15
    assert caplog.text == ""


def test_auto_is_float32_without_an_nvidia_gpu(composed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for apple, accelerator in ((True, "mps"), (False, "cpu")):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda apple=apple: apple)
        found = build(composed("train", "hardware=auto").hardware).resolve()
        assert (found.accelerator, found.precision) == (accelerator, "32-true")


@pytest.mark.parametrize(("capability", "warns"), [(V100, True), (T4, True), (A100, False), (H100, False)])
def test_bfloat16_where_it_is_emulated_is_run_with_a_warning(gpu, caplog, capability, warns):
    gpu(capability)
    assert Hardware("auto", precision="bf16-mixed").resolve().precision == "bf16-mixed"
    assert ("Tesla T4 only emulates bfloat16" in caplog.text) == warns
    assert ("choose 16-mixed" in caplog.text) == warns


def test_a_cpu_and_an_apple_device_are_asked_for_no_capability(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for accelerator in ("cpu", "mps"):
        assert Hardware("x", accelerator, precision="bf16-mixed").resolve().precision == "bf16-mixed"


def test_float32_stays_float32():
    """TF32 is nobody's default here (docs/hardware.md), whatever has been imported."""
    assert torch.get_float32_matmul_precision() == "highest"
