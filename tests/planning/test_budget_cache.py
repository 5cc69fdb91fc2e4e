"""Cached budgets: concurrent runs lose none of them."""

import json
from concurrent.futures import ThreadPoolExecutor

from reasonir.engine.step import Budget
from reasonir.planning.budget_cache import BudgetCache


def test_concurrent_runs_all_cache_their_budgets(tmp_path):
    file = tmp_path / "cache" / "budgets.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: BudgetCache(file, str(number)).keep(Budget(64 + number, 8)), range(32)))
    assert set(json.loads(file.read_text())) == {*map(str, range(32)), "sha256"}
    assert BudgetCache(file, "7").limit(Budget(1000, 1000)) == Budget(71, 8)
