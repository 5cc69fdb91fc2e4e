import logging

import pytest
import yaml
from omegaconf import OmegaConf

import reasonir.cli.configuration  # noqa: F401  (registers oc.env)
from reasonir.errors import InputError
from reasonir.runs.folder import saved_data
from reasonir.runs.secrets import MaskingFormatter, from_environment, mask

KEY = "hunter2-of-the-tests"


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("A_NUMBER", "12")


def test_messages_and_logs_name_the_variable(monkeypatch):
    monkeypatch.setenv("AN_ADDRESS", "https://me:pass-of-tests@host")
    monkeypatch.setenv("A_FOLDER", "/data/rows")
    config = OmegaConf.create({"a": "${oc.env:A_KEY}", "b": "${oc.env:AN_ADDRESS}", "c": "${oc.env:A_FOLDER}"})
    assert OmegaConf.to_container(config, resolve=True)
    assert mask(f"no {KEY} at https://me:pass-of-tests@host") == "no ${oc.env:A_KEY} at ${oc.env:AN_ADDRESS}"
    assert mask("pass-of-tests is wrong") == "${oc.env:AN_ADDRESS} is wrong"
    assert mask("/data/rows doesn't exist") == "/data/rows doesn't exist"
    record = logging.LogRecord("a", logging.INFO, "", 1, "with %s", (KEY,), None)
    assert MaskingFormatter("%(levelname)s %(message)s").format(record) == "INFO with ${oc.env:A_KEY}"


def test_a_saved_path_is_read_again_and_a_secret_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("A_FOLDER", str(tmp_path))
    saved = {"path": "${oc.env:A_FOLDER}/config.yaml", "key": "${oc.env:A_KEY}", "other": ["${oc.env:NOT_SET}", 1]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"_target_": "reasonir.data.demo.Demo", **saved}}))
    read = {**saved, "path": str(tmp_path / "config.yaml")}
    assert from_environment(saved, trusted=False) == read
    assert from_environment(saved, trusted=True) == {**read, "key": KEY}
    assert from_environment({"a": "${oc.env:A_KEY}" * 9999}, trusted=False) == {"a": "${oc.env:A_KEY}" * 9999}
    with pytest.raises(InputError, match=r"data\.key holds '\$\{oc\.env:A_KEY\}'") as refused:
        saved_data(tmp_path)
    assert KEY not in str(refused.value)
