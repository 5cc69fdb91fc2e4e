"""The data that a run was trained on, from its data.json."""

import pytest

from reasonir.data.demo import Demo
from reasonir.data.prepared import fingerprint_of, prepare, read_manifest
from reasonir.errors import InputError
from reasonir.runs.provenance import DATA, data_of, refuse_other_data, refuse_other_rows
from reasonir.utils.state import write_json


@pytest.fixture
def prepared(home):
    return prepare(Demo(), home)


def test_a_run_goes_on_with_its_own_data(prepared, tmp_path):
    write_json(tmp_path / DATA, read_manifest(prepared))
    assert data_of(tmp_path) == fingerprint_of(Demo())
    refuse_other_data(Demo(), tmp_path)
    refuse_other_rows(prepared, tmp_path)
    with pytest.raises(InputError, match="was trained on the prepared set"):
        refuse_other_data(Demo(seed=1), tmp_path)


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:99], lambda text: "{}", lambda text: "[]"])
def test_a_damaged_record_of_the_data_is_named(prepared, tmp_path, damage):
    write_json(tmp_path / DATA, read_manifest(prepared))
    (tmp_path / DATA).write_text(damage((tmp_path / DATA).read_text()))
    for read in (lambda: refuse_other_data(Demo(), tmp_path), lambda: refuse_other_rows(prepared, tmp_path)):
        with pytest.raises(InputError, match=r"data\.json.* copy it again"):
            read()
