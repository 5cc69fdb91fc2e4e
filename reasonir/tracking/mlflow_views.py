"""Saved views of MLflow's interface, with the columns and charts of an experiment or a sweep.

By default the interface shows no parameters, no metrics and no jobs of a sweep. Saved views are tags of the experiment
with deflated JSON (format of MLflow 3.17); they are listed under "Views" and can be edited there.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from reasonir.tracking.base import KIND_TAG, PARENT_TAG, RUN

_TAG = "mlflow.sharedViewState."
_ALL = "all-runs"
_TAGS = ("model", "head", "data", "loss", "hardware", "protocol")
_MOST_TASKS = 12
ADDRESS = "http://127.0.0.1:5000"
"""Address of `make ui`."""
BROWSER = "In the browser: make ui, then %s"


def save_runs_view(client: Any, run_id: str, headline: str) -> str:
    """Save the view of all runs of an experiment, with the tasks evaluated so far.

    Args:
        client: MLflow's client.
        run_id: a run of the experiment.
        headline: the main metric.

    Returns:
        The view's URL.
    """
    experiment = client.get_run(run_id).info.experiment_id
    runs = client.search_runs([experiment], f"tags.{KIND_TAG} = '{RUN}'", max_results=100)
    metrics = _metrics(runs, headline)
    columns = [_column("tags", tag) for tag in _TAGS] + [_column("metrics", name) for name in metrics]
    state = _state(f"tags.{KIND_TAG} = '{RUN}'", columns, _charts(metrics, ()), metrics)
    return _save(client, experiment, _ALL, "All runs", state)


def save_sweep_view(client: Any, parent: str, keys: Sequence[str], headline: str) -> str:
    """Save the view of a sweep's jobs.

    Args:
        client: MLflow's client.
        parent: the sweep's run.
        keys: the swept parameters.
        headline: the main metric.

    Returns:
        The view's URL.
    """
    sweep = client.get_run(parent)
    jobs = client.search_runs([sweep.info.experiment_id], f"tags.`{PARENT_TAG}` = '{parent}'")
    metrics = _metrics(jobs, headline)
    swept = [key for key in keys if any(key in job.data.params for job in jobs)]
    tags = [tag for tag in _TAGS if len({job.data.tags.get(tag) for job in jobs}) > 1]
    columns = [_column("params", key) for key in swept] + [_column("tags", tag) for tag in tags]
    columns += [_column("metrics", name) for name in metrics]
    state = _state(f"tags.`{PARENT_TAG}` = '{parent}'", columns, _charts(metrics, swept), metrics)
    return _save(client, sweep.info.experiment_id, parent, sweep.info.run_name, state)


def _metrics(runs: Iterable[Any], headline: str) -> list[str]:
    """Metrics to show as columns: the development metric, and the headline on every task of the runs."""
    names = {name for run in runs for name in run.data.metrics}
    tests = sorted(name for name in names if name.startswith("eval/") and name.count("/") == 2)
    dev = [name for name in ("dev/ndcg_at_10",) if name in names]
    return dev + [name for name in tests if name.endswith(f"/{headline}")][:_MOST_TASKS]


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _charts(metrics: Sequence[str], swept: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Charts by section: bars of the metrics, parallel coordinates of swept parameters, and training curves."""
    bars = [{"type": "BAR", "metricKey": name} for name in metrics]
    parallel = [
        {
            "type": "PARALLEL",
            "selectedParams": list(swept),
            "selectedMetrics": list(metrics[:2]),
            "showAllRuns": False,
        }
    ]
    curves = [
        {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name]} for name in ("train/loss", "dev/ndcg_at_10")
    ]
    return {
        "Results": bars + (parallel if swept and metrics else []),
        "Training": curves,
        "Speed": [{"type": "BAR", "metricKey": "train/tokens_per_s"}],
    }


def _state(
    search: str, columns: Sequence[str], sections: dict[str, list[dict[str, Any]]], metrics: Sequence[str]
) -> dict[str, Any]:
    """State of a view, ordered by a metric: ordered by time, the interface would fold jobs into their sweep."""
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
        "orderByKey": _column("metrics", metrics[-1]) if metrics else "attributes.status",
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
