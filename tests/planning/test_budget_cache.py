"""Cached budgets: concurrent runs lose none of them."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from reasonir.engine.step import Budget
from reasonir.planning.budget_cache import BudgetCache


def test_concurrent_runs_all_cache_their_budgets(tmp_path):
    file = tmp_path / "cache" / "budgets.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: BudgetCache(file, str(number)).keep(Budget(64 + number, 8)), range(32)))
    assert set(json.loads(file.read_text())) == {*map(str, range(32)), "sha256"}
    assert BudgetCache(file, "7").limit(Budget(1000, 1000)) == Budget(71, 8)


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:20], lambda text: text.replace("71", "79")])
def test_a_damaged_cache_is_measured_again_with_a_word(tmp_path, damage, caplog):
    file = tmp_path / "budgets.json"
    BudgetCache(file, "7").keep(Budget(71, 8))
    file.write_text(damage(file.read_text()))
    assert BudgetCache(file, "7").limit(Budget(1000, 1000)) == Budget(1000, 1000)
    assert str(file) in caplog.text
    assert "its budgets are measured again" in caplog.text
    BudgetCache(file, "8").keep(Budget(81, 8))
    assert BudgetCache(file, "8").limit(Budget(1000, 1000)) == Budget(81, 8)
