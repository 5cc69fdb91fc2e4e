"""Every notebook runs from its first cell to its last as it is committed: offline, with the tiny model, no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SLOW = ("compare_runs", "search_rerank_prune")
RUN = [pytest.param(file, marks=pytest.mark.slow if file.stem in SLOW else (), id=file.stem) for file in NOTEBOOKS]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that the notebooks share: the model that the first trains is found by the last."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("file", RUN)
def test_a_notebook_runs_to_its_end(file, place, monkeypatch):
    for name in ("REASONIR_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(place / name.lower()))
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": place}}).execute()


def test_notebooks_are_committed_without_what_they_showed():
    for file in NOTEBOOKS:
        notebook = nbformat.read(file, as_version=4)
        nbformat.validate(notebook)
        shown = [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
        assert not shown, f"{file.name}: clear the outputs of {', '.join(shown)}"
