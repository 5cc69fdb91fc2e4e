"""Tensors of a file: equal to the written ones, or refused."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reasonir.errors import InputError
from reasonir.utils.tensor_files import read_tensors, write_tensors

TENSORS = {
    "half": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    "brain": torch.ones(3, dtype=torch.bfloat16),
    "counts": torch.tensor([3, 1]),
    "flags": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
    "scalar": torch.tensor(2.5),
}


def test_tensors_and_metadata_come_back(tmp_path):
    digest = write_tensors(tmp_path / "a.safetensors", TENSORS, {"model": "x"})
    found = read_tensors(tmp_path / "a.safetensors", remedy="x")
    assert set(found.tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    assert (found.metadata, found.digest) == ({"model": "x"}, digest)


def test_tied_tensors_are_written_once(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    tied = {"rows": weight, "decoder": weight, "turned": weight.T, "equal": weight.clone()}
    digest = write_tensors(tmp_path / "a.safetensors", tied | {"none": torch.zeros(0), "nothing": torch.zeros(0)})
    with safe_open(tmp_path / "a.safetensors", "pt") as stream:
        assert set(stream.keys()) == {"rows", "turned", "equal", "none", "nothing"}
    found = read_tensors(tmp_path / "a.safetensors", remedy="x")
    assert (found.metadata, found.digest) == ({}, digest)
    assert set(found.tensors) == {*tied, "none", "nothing"}
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tied.items())


def test_every_flipped_bit_is_refused_or_without_effect(tmp_path):
    file = tmp_path / "a.safetensors"
    write_tensors(file, TENSORS, {"model": "x"})
    whole, refused = file.read_bytes(), 0
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            found = read_tensors(file, remedy="copy it again")
        except InputError as error:
            assert str(error).startswith(f"{file} is damaged")
            assert "copy it again" in str(error)
            refused += 1
            continue
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
        assert found.metadata["model"] == "x"
    assert refused > 0.9 * 8 * len(whole)


def test_a_missing_file_and_one_of_an_earlier_version(tmp_path):
    with pytest.raises(InputError, match=r"a\.safetensors is missing: copy it again"):
        read_tensors(tmp_path / "a.safetensors", remedy="copy it again")
    save_file(TENSORS, tmp_path / "a.safetensors", {"model": "x"})
    assert read_tensors(tmp_path / "a.safetensors", remedy="x").digest == ""
