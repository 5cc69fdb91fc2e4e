"""What no index can do."""

import sys

import pytest

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.index.plaid import Plaid
from tests.helpers import load


def test_an_index_without_its_package_says_what_to_install(bert, composed, monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_plaid", None)  # importing it fails
    message = "index=plaid needs fast_plaid, which isn't installed here: pip install fast-plaid .* choose index=exact"
    with pytest.raises(InputError, match=message):
        Plaid(load(bert, "colbert"))
    (found,) = problems(composed("train", "model=tiny", "index=plaid"))
    assert found.startswith("index=plaid needs fast_plaid")
