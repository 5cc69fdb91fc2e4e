"""Folders of runs by their MLflow id."""

import pytest

from reasonir.errors import InputError
from reasonir.runs.folder import folder_of_id

RUN = "0" * 32


@pytest.mark.parametrize("parent", ["outputs", "multirun/today"])
def test_an_id_leads_to_the_training_and_not_to_its_evaluations(tmp_path, parent):
    for name in ("a_evaluate", "train", "z_evaluate"):
        folder = tmp_path / parent / name
        folder.mkdir(parents=True)
        (folder / "run_id").write_text(RUN)
    with pytest.raises(InputError, match="has this id"):
        folder_of_id(RUN, tmp_path)
    (tmp_path / parent / "train" / "config.yaml").touch()
    assert folder_of_id(RUN, tmp_path) == tmp_path / parent / "train"
