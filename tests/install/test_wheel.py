"""A wheel in a fresh environment, outside the checkout: what a user installs has everything it needs."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_carries_code_configuration_and_texts(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, prefix in ((ROOT / "conf", "reasonir/conf"), (ROOT / "reasonir", "reasonir")):
        expected = {
            f"{prefix}/{file.relative_to(folder).as_posix()}"
            for file in folder.rglob("*")
            if file.suffix in (".py", ".yaml", ".toml", ".jinja")
        }
        assert expected <= names
    assert not any("test" in name.split("/")[0] or name.endswith(".pyc") for name in names)


def test_versions_are_pinned_without_an_index_address():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in wanted:
        name = requirement.split(">")[0].split("=")[0].split("<")[0].strip()
        assert f"\n{name}==" in f"\n{lock}", f"{name} isn't locked: run make lock"


@pytest.mark.slow
def test_a_fresh_environment_trains_outside_the_checkout(wheel, tmp_path):
    environment = tmp_path / "venv"
    call(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python, scripts = environment / "bin" / "python", environment / "bin"
    uv = Path(sys.executable).with_name("uv")
    call(uv, "pip", "install", "--python", python, "-r", ROOT / "requirements.lock", cwd=tmp_path)
    call(uv, "pip", "install", "--python", python, "--no-deps", wheel, cwd=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    given = {"REASONIR_HOME": "", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    assert "reasonir.train model=qwen hardware=t4" in call(scripts / "reasonir-train", "--help", cwd=work, **given)
    for command in ("evaluate", "prepare", "mine", "bench", "compare", "search", "serve", "push", "sync"):
        assert call(scripts / f"reasonir-{command}", "--help", cwd=work, **given)
    call(scripts / "reasonir-train", "experiment=demo_tiny", "logger=mlflow", cwd=work, **given)
    (folder,) = (work / "outputs").iterdir()
    systems = json.loads((folder / "results.json").read_text())["results"]["demo"]
    assert set(systems) == {"random", "bm25", "untrained", "trained"}
    assert (work / "mlflow.db").is_file()
    call(python, "-m", "reasonir.evaluate", f"run={folder}", "eval=demo", "evaluation.baselines=[]", cwd=work, **given)
