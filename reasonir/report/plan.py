"""Summary of a run at its start, and its plan as tables, on rank 0 only."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from reasonir.data.batches.lengths import caps
from reasonir.distributed.launch import own_rank
from reasonir.planning.lengths import Measured
from reasonir.planning.plan import Fit, Plan
from reasonir.report.console import show
from reasonir.utils.memory_meter import GIB
from reasonir.utils.table import RIGHT, TEXT, Table, duration

log = logging.getLogger(__name__)
_MUCH = 0.2
_BAR, _WIDEST = "▇", 20
_ASSUMED = (
    "Memory is traced. Times are those of training alone, at assumed shares of a card's stated rates "
    "(reasonir/planning/cards.py); on a CPU at measured rates"
)


def show_start(
    plan: Plan, *, overrides: Sequence[str], options: Mapping[str, str], data: Mapping[str, int], folder: Path
) -> None:
    """Log a six-line summary of the run, and warn of length limits that truncate many texts.

    Args:
        plan: plan of the step.
        overrides: overrides of the command line.
        options: selected options by group.
        data: counts of the prepared set by kind; empty if it can't be read.
        folder: folder of the run.
    """
    if own_rank() != 0:
        return
    fit, texts = plan.fit, plan.texts
    limits = ", ".join(f"{limit:,} tokens per {side}" for side, limit in plan.lengths.limits.items())
    counts = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in data.items())
    saved = "all activations saved" if _saves_all(fit, plan) else f"activations of {_saved(fit, plan)} tokens saved"
    devices, step = (f"{fit.hardware.ranks} x ", "step and device") if fit.hardware.ranks > 1 else ("", "step")
    lines = {
        "Overrides": shlex.join(overrides) or "none",
        "Options": " ".join(f"{group}={option}" for group, option in options.items() if group != "experiment"),
        "Data": counts or "not readable here",
        "Model": f"{_parameters(plan)}; at most {limits}",
        "Plan": f"{devices}{fit.hardware.name}, {fit.hardware.precision}; {texts.tokens:,} tokens per {step} in "
        f"micro-batches of {fit.budget.micro_batch:,}, {saved}; {_estimate(fit)}",
        "Folder": str(folder),
    }
    log.info("%s", "\n".join(f"{name + ':':<10} {value}" for name, value in lines.items()))
    _warn_of_cuts(plan.lengths)


def show_plan(plan: Plan) -> None:
    """Print the plan as two tables: the data's lengths, and the step's cost."""
    lengths = plan.lengths
    rows = []
    for column in lengths.columns:
        limit = lengths.limits[column.side]
        cut = column.cut(limit)
        counts = (limit, column.percentile(0.5), column.percentile(0.95), column.longest)
        rows.append([column.name, *counts, cut.texts, cut.tokens])
    counted = dict.fromkeys(("limit", "median", "95%", "longest"), "{:d}")
    columns = {"texts": TEXT, **counted, "cut": "{:.1%}", "tokens lost": "{:.1%}"}
    notes = {
        "limits": "The data can't be read here: every text is assumed to be as long as its limit.",
        "characters": "The tokenizer isn't available: lengths are estimated at four characters per token.",
    }
    show(Table("Plan: lengths in tokens", columns, rows, note=notes.get(lengths.counted, "")))
    show(_cost(plan))


def show_choices(plan: Plan, fits: Mapping[str, Fit]) -> None:
    """Print the distribution of lengths, truncation by each limit, and the hardware that the step fits on."""
    columns = plan.lengths.columns
    names = [column.name for column in columns]
    shares = [{end: count / len(column.lengths_N) for end, count in column.histogram().items()} for column in columns]
    ends = sorted({end for share in shares for end, value in share.items() if value})
    rows = [[end, *(_bar(share.get(end, 0.0)) for share in shares)] for end in ends]
    show(Table("Texts by length", {"tokens up to": RIGHT, **dict.fromkeys(names, TEXT)}, rows))
    cuts = [[cap, *(column.cut(cap) for column in columns)] for cap in caps(columns, plan.lengths.positions)]
    shown = {"limit": RIGHT, **dict.fromkeys(names, "{0.texts:.1%} ({0.tokens:.1%})")}
    show(Table("Truncation by limit: texts (tokens)", shown, cuts))
    show(_profiles(plan, fits))


def show_probe(plan: Plan) -> None:
    """Print a probe's measurement next to the estimate."""
    columns = {"estimated": "{:.3f} GiB", "measured": "{:.3f} GiB", "ratio": "{:.2f}"}
    values = [plan.measured[key] for key in ("estimated_gib", "measured_gib", "estimated_over_measured")]
    show(Table("Probe: a training step's memory above the loaded model", columns, [values]))


def _bar(share: float) -> str:
    return f"{_BAR * round(_WIDEST * share)} {share:.1%}"


def _parameters(plan: Plan) -> str:
    return f"{plan.trace.parameters:,} parameters ({plan.trace.trained:,} trained)"


def _saves_all(fit: Fit, plan: Plan) -> bool:
    return fit.budget.max_saved_tokens >= plan.texts.tokens


def _saved(fit: Fit, plan: Plan) -> str:
    return "all" if _saves_all(fit, plan) else f"{fit.budget.max_saved_tokens:,}"


def _estimate(fit: Fit) -> str:
    """Return the step's memory and the device's."""
    memory = fit.hardware.memory_gib
    device = "unknown" if memory is None else f"{memory:.1f}"
    return f"{fit.cost.total / GIB:.2f} of {device} GiB{': does not fit' if fit.fits is False else ''}"


def _profiles(plan: Plan, fits: Mapping[str, Fit]) -> Table:
    heads = dict.fromkeys(("hardware", "precision"), TEXT)
    heads |= {"memory": RIGHT, "peak": "{:.2f} GiB", "micro-batch": "{:,}", "saved tokens": RIGHT}
    heads |= {"tokens/s": RIGHT, "run": RIGHT, "": TEXT}
    verdicts = {True: "fits", False: "does not fit", None: "at least this; set hardware.memory_gib"}
    rows = []
    for name, fit in fits.items():
        hardware, peak = fit.hardware, fit.cost.total / GIB
        memory = "unknown" if hardware.memory_gib is None else f"{hardware.memory_gib:.1f} GiB"
        cells = [name, hardware.precision, memory, peak, fit.budget.micro_batch, _saved(fit, plan)]
        rows.append([*cells, _rate(fit, plan), _run(fit, plan), verdicts[fit.fits]])
    return Table("The same step on one device of each profile", heads, rows, note=_in_short(plan, fits))


def _rate(fit: Fit, plan: Plan) -> str:
    return "" if fit.seconds is None else f"{plan.texts.tokens / fit.seconds:,.0f}"


def _run(fit: Fit, plan: Plan) -> str:
    """Return the time of the whole run, and its price if the profile has one."""
    if (seconds := plan.run_seconds(fit)) is None:
        return ""
    price = fit.hardware.price_per_hour
    cost = "" if price is None else f", {fit.hardware.ranks * price * seconds / 3600:,.2f}"
    return f"{duration(seconds)}{cost}"


def _in_short(plan: Plan, fits: Mapping[str, Fit]) -> str:
    """Return the profiles that the step fits on, each with its memory and the run's time."""
    parts = []
    for name, fit in fits.items():
        if fit.fits:
            time = _run(fit, plan) or (f"{_rate(fit, plan)} tokens/s" if fit.seconds else "")
            parts.append(f"{name}: {_estimate(fit)}{', about ' * bool(time)}{time}")
    return f"{'; '.join(parts)}. {_ASSUMED}"


def _cost(plan: Plan) -> Table:
    fit, gib = plan.fit, plan.fit.cost.gib()
    here = "here" if fit.hardware.missing() is None else "not here"
    saved = "all: no recomputation" if _saves_all(fit, plan) else f"{_saved(fit, plan)}, the rest recomputed"
    rows = {
        "parameters": _parameters(plan),
        "tokens per step and device": f"{plan.texts.tokens:,}",
        "micro-batch": f"{fit.budget.micro_batch:,} padded tokens",
        "saved tokens": saved,
        "weights": f"{gib['weights_gib']:.2f} GiB",
        "gradients": f"{gib['gradients_gib']:.2f} GiB",
        "optimiser": f"{gib['optimiser_gib']:.2f} GiB",
        "activations": f"{gib['segment_gib']:.2f} GiB per micro-batch, {gib['kept_gib']:.2f} GiB saved",
        "scores": f"{gib['scores_gib']:.2f} GiB",
        "peak": _estimate(fit),
        "peak in": fit.cost.moment,
        "step": "unknown rates" if fit.seconds is None else f"{duration(fit.seconds)}, {_rate(fit, plan)} tokens/s",
        "run": _run(fit, plan) or "unknown",
    }
    return Table(f"Plan: {fit.hardware.name} ({here}), {fit.hardware.precision}", {}, list(rows.items()))


def _warn_of_cuts(lengths: Measured) -> None:
    for column in lengths.columns:
        limit = lengths.limits[column.side]
        if (share := column.cut(limit).texts) > _MUCH:
            log.warning(
                "%.0f%% of the sampled %s are longer than %d tokens and are truncated: raise model.head's length, or "
                "set lengths.auto=true",
                100 * share,
                column.name,
                limit,
            )
    if lengths.queries_cut > _MUCH:
        log.warning(
            "%.0f%% of the sampled pairs have a truncated query: raise model.head.max_length or model.head.query_share",
            100 * lengths.queries_cut,
        )
