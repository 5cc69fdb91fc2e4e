"""Records of jobs and ids of runs: read as written, and named when they are damaged."""

import pytest

from reasonir.errors import InputError
from reasonir.runs.outcome import JobRecord, job_records, read_run_id

RECORD = JobRecord(["seed=1"], "FINISHED", 0.25, seconds=3.0, run_id="a" * 32)


def test_a_record_comes_back(tmp_path):
    assert JobRecord.read(tmp_path) is None
    RECORD.write(tmp_path / "0")
    assert JobRecord.read(tmp_path / "0") == RECORD
    assert job_records(tmp_path) == {tmp_path / "0": RECORD}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "holds nothing"),
        (lambda text: text[:-20], "not (valid|usable as) JSON"),
        (lambda text: text.replace("0.25", "0.26"), "isn't as it was written"),
        (lambda text: '{"status": "FINISHED"}', "isn't a JobRecord .*overrides"),
        (lambda text: '{"overrides": [], "further": 1}', "isn't a JobRecord .*further"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, damage, message):
    RECORD.write(tmp_path)
    file = tmp_path / "outcome.json"
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match=rf"outcome\.json.* {message}.*delete it to run the job again"):
        JobRecord.read(tmp_path)


def test_an_id_is_read_or_named(tmp_path):
    assert read_run_id(tmp_path) is None
    (tmp_path / "run_id").write_text("0123456789abcdef" * 2 + "\n")
    assert read_run_id(tmp_path) == "0123456789abcdef" * 2
    for content in (b"", b"0123", b"\xff\x00", b"g" * 32):
        (tmp_path / "run_id").write_bytes(content)
        with pytest.raises(InputError, match=r"run_id holds b.*, expected the id of an MLflow run"):
            read_run_id(tmp_path)
