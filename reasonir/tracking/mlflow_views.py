"""What MLflow's interface opens with: saved views of an experiment with the columns and charts worth looking at.

Left to itself the interface shows no parameter, no metric and nothing of a sweep's jobs. The views that a person saves
it keeps as tags of the experiment, deflated JSON (read off MLflow 3.17's own); these are written the same way, so they
are found under "Views" and can be changed there.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from reasonir.tracking.mlflow import KIND_TAG, PARENT_TAG, RUN

_TAG = "mlflow.sharedViewState."
_ALL = "all-runs"
_TAGS = ("model", "head", "data", "loss", "hardware", "protocol")
_MOST_TASKS = 12
ADDRESS = "http://127.0.0.1:5000"
"""Where `make ui` serves."""
BROWSER = "In the browser: make ui, then %s"


def save_runs_view(client: Any, run_id: str, headline: str) -> str:
    """Save the view of all runs of an experiment, which grows by the tasks they are judged on.

    Args:
        client: MLflow's.
        run_id: one of the experiment's, newly ended.
        headline: the metric that counts.

    Returns:
        Its address.
    """
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.{KIND_TAG} = '{RUN}'", max_results=100)
    figures = _figures(runs, headline)
    columns = [_column("tags", tag) for tag in _TAGS] + [_column("metrics", name) for name in figures]
    state = _state(f"tags.{KIND_TAG} = '{RUN}'", columns, _charts(figures, ()), figures)
    return _save(client, experiment, _ALL, "All runs", state)


def save_sweep_view(client: Any, parent: str, keys: Sequence[str], headline: str) -> str:
    """Save the view of a sweep's jobs.

    Args:
        client: MLflow's.
        parent: the sweep's run.
        keys: the parameters that were swept.
        headline: the metric that counts.

    Returns:
        Its address.
    """
    entry = client.get_run(parent)
    jobs = client.search_runs([entry.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent}'")
    figures = _figures(jobs, headline)
    known = [key for key in keys if any(key in job.data.params for job in jobs)]
    tags = [tag for tag in _TAGS if len({job.data.tags.get(tag) for job in jobs}) > 1]
    columns = [_column("params", key) for key in known] + [_column("tags", tag) for tag in tags]
    columns += [_column("metrics", name) for name in figures]
    state = _state(f"tags.`{PARENT_TAG}` = '{parent}'", columns, _charts(figures, known), figures)
    return _save(client, entry.info.experiment_id, parent, entry.info.run_name, state)


def _figures(runs: Iterable[Any], headline: str) -> list[str]:
    """The metrics worth a column: the development metric, and the headline on every task that runs were judged on."""
    names = {name for run in runs for name in run.data.metrics}
    tests = sorted(name for name in names if name.startswith("eval/") and name.count("/") == 2)
    dev = [name for name in ("dev/ndcg_at_10",) if name in names]
    return dev + [name for name in tests if name.endswith(f"/{headline}")][:_MOST_TASKS]


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _charts(figures: Sequence[str], swept: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Charts by section: bars of the figures, what was swept against them, and the curves of training."""
    bars = [{"type": "BAR", "metricKey": name} for name in figures]
    across = [
        {
            "type": "PARALLEL",
            "selectedParams": list(swept),
            "selectedMetrics": list(figures[:2]),
            "showAllRuns": False,
        }
    ]
    curves = [
        {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name]} for name in ("train/loss", "dev/ndcg_at_10")
    ]
    return {
        "Results": bars + (across if swept and figures else []),
        "Training": curves,
        "Speed": [{"type": "BAR", "metricKey": "train/tokens_per_s"}],
    }


def _state(
    search: str, columns: Sequence[str], sections: dict[str, list[dict[str, Any]]], figures: Sequence[str]
) -> dict[str, Any]:
    """A view that is ordered by a figure: ordered by time, the interface folds jobs into their sweep."""
    charts = [
        {
            "uuid": f"{section}-{number}",
            "metricSectionId": section,
            "runsCountToCompare": 20,
            "deleted": False,
            "isGenerated": False,
            **chart,
        }
        for section, members in sections.items()
        for number, chart in enumerate(members)
    ]
    return {
        "searchFilter": search,
        "orderByKey": _column("metrics", figures[-1]) if figures else "attributes.status",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for name in sections
        ],
        "viewMaximized": False,
        "isAccordionReordered": True,
        "runListHidden": False,
        "hideEmptyCharts": True,
        "groupBy": None,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _save(client: Any, experiment: str, key: str, name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    now = int(time.time() * 1000)
    view = {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    client.set_experiment_tag(experiment, f"{_TAG}{key}", json.dumps(view))
    return (
        f"{ADDRESS}/#/experiments/{experiment}/runs"
        f"?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    )
