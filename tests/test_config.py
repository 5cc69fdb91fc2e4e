from pathlib import Path

import pytest

from reasonir.config import run_folder

NAMES = ["../x", "/etc/x", "a/../../b", "a\x00b", "x" * 5000, "é" * 3000, ".", "..", "", "a...", "a\nb", "c:\\x", 2026]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_makes_one_new_folder_in_its_parent(tmp_path, name):
    parent = tmp_path / "outputs"
    folders = [Path(run_folder(None, str(parent), name)) for _ in range(2)]
    assert sorted(parent.iterdir()) == sorted(folders)
    assert [file.name for file in tmp_path.iterdir()] == ["outputs"]
    assert all(folder.is_dir() and not folder.name.endswith((".", " ")) for folder in folders)
    assert len(folders[1].name.encode()) < 220
