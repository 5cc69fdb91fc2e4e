"""The record of a sweep in its folder."""

import pytest

from reasonir.errors import InputError
from reasonir.sweep.jobs import SweepRecord


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:30], lambda text: text.replace("1,2", "1,3")])
def test_a_damaged_record_is_named(tmp_path, damage):
    assert SweepRecord.read(tmp_path) is None
    record = SweepRecord(["-m", "seed=1,2"], ["seed=1,2"], "0" * 32)
    record.write(tmp_path)
    assert SweepRecord.read(tmp_path) == record
    (tmp_path / "sweep.json").write_text(damage((tmp_path / "sweep.json").read_text()))
    with pytest.raises(InputError, match=r"sweep\.json.* copy it again, or start a new sweep"):
        SweepRecord.read(tmp_path)
