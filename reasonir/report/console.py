"""What a person sees of a run on the terminal: the configuration, the plan, the results. First rank only."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from reasonir.data.batches.lengths import caps
from reasonir.planning.plan import Fit, Plan
from reasonir.utils.memory_meter import GIB

log = logging.getLogger(__name__)
_NARROWEST = 150
_MUCH = 0.2
_BAR, _WIDEST = "▇", 20


@rank_zero_only
def show(what: Any) -> None:
    """Print a renderable; tables keep their width where there is no terminal."""
    console = Console()
    if not sys.stdout.isatty():  # in a notebook FORCE_COLOR is set, by which rich takes it for a narrow terminal
        console = Console(width=max(_NARROWEST, console.width))
    console.print(what)


def show_config(values: Mapping[str, Any]) -> None:
    """Print the resolved configuration."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
    show(Syntax(text, "yaml", background_color="default"))


def show_plan(plan: Plan) -> None:
    """Print the plan as two tables: the data's lengths, and the step's cost."""
    measured = plan.lengths
    table = _table("Plan: lengths in tokens", "texts", "limit", "median", "95 %", "longest", "cut", "tokens lost")
    for column in measured.columns:
        limit = measured.limits[column.side]
        cut = column.cut(limit)
        figures = (limit, column.percentile(0.5), column.percentile(0.95), column.longest)
        table.add_row(column.name, *map(str, figures), f"{cut.texts:.1%}", f"{cut.tokens:.1%}")
    show(table)
    if measured.counted == "limits":
        show("The data can't be read here: every text is taken to be as long as it may be.")
    if measured.counted == "characters":
        show("The tokenizer can't be reached: lengths are estimated at four characters a token.")
    show(_cost(plan))
    for column in measured.columns:
        limit = measured.limits[column.side]
        if column.cut(limit).texts > _MUCH:
            log.warning(
                "%.0f %% of the sampled %s are longer than %d tokens and are cut: raise model.head's length, or let "
                "lengths.auto=true find it",
                100 * column.cut(limit).texts,
                column.name,
                limit,
            )
    if measured.queries_cut > _MUCH:
        log.warning(
            "%.0f %% of the sampled pairs lose a part of their query beside the document: raise model.head.max_length, "
            "or model.head.query_share",
            100 * measured.queries_cut,
        )


def show_choices(plan: Plan, fits: Mapping[str, Fit]) -> None:
    """Print what there is to choose from: how long texts are, what each limit would cut, and which machine would do."""
    columns = plan.lengths.columns
    histogram = _table("Texts by length", "tokens up to", *(column.name for column in columns), left=True)
    shares = [{end: count / len(column.lengths_N) for end, count in column.histogram().items()} for column in columns]
    ends = sorted({end for share in shares for end, value in share.items() if value})
    for end in ends:
        cells = [share.get(end, 0.0) for share in shares]
        histogram.add_row(str(end), *(f"{_BAR * round(_WIDEST * cell)} {cell:.1%}" for cell in cells))
    show(histogram)
    cuts = _table("What a limit cuts: texts (tokens)", "limit", *(column.name for column in columns))
    for cap in caps(columns, plan.lengths.positions):
        found = [column.cut(cap) for column in columns]
        cuts.add_row(str(cap), *(f"{cut.texts:.1%} ({cut.tokens:.1%})" for cut in found))
    show(cuts)
    machines = _table(
        "The same step on one device of each profile",
        "hardware",
        "precision",
        "memory",
        "estimate",
        "micro-batch",
        "graphs kept",
        "",
    )
    for name, fit in fits.items():
        memory = fit.hardware.memory_gib
        machines.add_row(
            name,
            fit.hardware.precision,
            "unknown" if memory is None else f"{memory:.1f} GiB",
            f"{fit.cost.total / GIB:.2f} GiB",
            f"{fit.budget.micro_batch:,}",
            "all" if fit.budget.max_saved_tokens >= plan.texts.tokens else f"{fit.budget.max_saved_tokens:,}",
            {True: "fits", False: "does not fit", None: "at least this; set hardware.memory_gib"}[fit.fits],
        )
    show(machines)


def show_probe(plan: Plan) -> None:
    """Print a probe's measurement beside the estimate."""
    found = plan.measured
    table = _table("Probe: a training step's memory above the loaded model", "estimated", "measured", "ratio")
    table.add_row(
        f"{found['estimated_gib']:.3f} GiB",
        f"{found['measured_gib']:.3f} GiB",
        f"{found['estimated_over_measured']:.2f}",
    )
    show(table)


def _table(title: str, *columns: str, left: bool = False) -> Table:
    """A table whose first column is right-aligned with the others, or all of whose others are left-aligned."""
    found = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        found.add_column(column, justify="left" if left and number else "right")
    return found


def _cost(plan: Plan) -> Table:
    fit, gib = plan.fit, plan.fit.cost.gib()
    here = "here" if fit.hardware.missing() is None else "not here"
    memory = fit.hardware.memory_gib
    cost = Table(
        title=f"Plan: {fit.hardware.name} ({here}), {fit.hardware.precision}", title_justify="left", show_header=False
    )
    tokens, kept = plan.texts.tokens, fit.budget.max_saved_tokens
    verdict = {True: "", False: ": does not fit", None: ""}[fit.fits]
    rows = {
        "parameters": f"{plan.training.shape.parameters:,} ({plan.training.trained:,} trained)",
        "tokens a step, a device": f"{tokens:,}",
        "micro-batch": f"{fit.budget.micro_batch:,} padded tokens",
        "graphs kept": "all: nothing is computed twice"
        if kept >= tokens
        else f"{kept:,} padded tokens; the rest is recomputed",
        "weights": f"{gib['weights_gib']:.2f} GiB",
        "gradients": f"{gib['gradients_gib']:.2f} GiB",
        "optimiser": f"{gib['optimiser_gib']:.2f} GiB",
        "activations": f"{gib['segment_gib']:.2f} GiB a micro-batch, {gib['kept_gib']:.2f} GiB kept",
        "representations": f"{gib['representations_gib']:.2f} GiB",
        "scores": f"{gib['scores_gib']:.2f} GiB",
        "estimate": f"{gib['total_gib']:.2f} of {'unknown' if memory is None else f'{memory:.1f}'} GiB{verdict}",
        "fullest moment": fit.cost.moment,
    }
    for name, value in rows.items():
        cost.add_row(name, value)
    return cost
