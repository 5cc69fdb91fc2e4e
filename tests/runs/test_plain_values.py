import pytest
from omegaconf import OmegaConf

import reasonir.cli.configuration  # noqa: F401  (registers oc.env)
from reasonir.runs.plain_values import plain_values

KEY = "hunter2-of-the-tests"


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("A_NUMBER", "12")


def values(**nodes):
    return plain_values(OmegaConf.create(nodes))


def test_texts_of_variables_are_named_wherever_they_get_to():
    OmegaConf.register_new_resolver("doubled", lambda number: int(number) * 2, replace=True)
    found = values(
        key="${oc.env:A_KEY}",
        address="https://me:${oc.env:A_KEY}@host/${name}",
        name="x",
        through="${key} and ${nested.list.1}",
        nested={"list": [1, "${address}"]},
        either="${oc.env:NOT_SET,usual}",
        other="${oc.env:A_KEY,usual}",
    )
    address = "https://me:${oc.env:A_KEY}@host/x"
    assert found == {
        "key": "${oc.env:A_KEY}",
        "address": address,
        "name": "x",
        "through": f"${{oc.env:A_KEY}} and {address}",
        "nested": {"list": [1, address]},
        "either": "usual",
        "other": "${oc.env:A_KEY}",
    }
    assert OmegaConf.create({"key": "${oc.env:A_KEY}"}).key == KEY


def test_numbers_and_the_home_are_kept():
    OmegaConf.register_new_resolver("doubled", lambda number: int(number) * 2, replace=True)
    found = values(seed="${oc.decode:${oc.env:A_NUMBER}}", home="/x/${oc.env:A_KEY}", key="${oc.env:A_KEY}")
    assert found == {"seed": 12, "home": f"/x/{KEY}", "key": "${oc.env:A_KEY}"}
    odd = values(seed="${doubled:${oc.env:A_NUMBER}}", key="${oc.env:A_KEY}", through="${key}")
    assert odd["seed"] == 24
    assert KEY not in str(odd)
