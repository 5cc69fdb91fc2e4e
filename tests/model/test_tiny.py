from safetensors.torch import load_file

from reasonir.model.head.colbert import ColBERT
from reasonir.model.tiny import Tiny


def test_the_checkpoint_is_written_once_and_always_the_same(tmp_path):
    first, second = (Tiny(path=str(tmp_path / name), head=ColBERT.load).locate() for name in "ab")
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    Tiny(path=str(tmp_path / "a"), head=ColBERT.load).locate()
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    assert [file.name for file in (tmp_path / "a").iterdir() if file.is_dir()] == [first.name]
