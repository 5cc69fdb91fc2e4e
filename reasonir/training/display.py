"""What a person sees of a run on the terminal: the configuration, the plan, the results. First rank only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from reasonir.training.plan import Plan

log = logging.getLogger(__name__)
_NARROWEST = 150
_MUCH = 0.2


@rank_zero_only
def show(what: Any) -> None:
    """Print a renderable; tables keep their width where there is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(_NARROWEST, console.width))
    console.print(what)


def show_config(values: Mapping[str, Any]) -> None:
    """Print the resolved configuration."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
    show(Syntax(text, "yaml", background_color="default"))


def show_plan(plan: Plan) -> None:
    """Print the plan as two tables: the data's lengths, and the step's cost."""
    lengths = Table(title="Plan: lengths in tokens", title_justify="left")
    for column in ("texts", "limit", "median", "95 %", "longest", "cut"):
        lengths.add_column(column, justify="right")
    for name, side in (("queries", plan.queries), ("documents", plan.documents)):
        lengths.add_row(
            name, str(side.limit), str(side.median), str(side.p95), str(side.longest), f"{side.truncated:.1%}"
        )
    show(lengths)
    if plan.queries.estimated:
        show("The tokenizer can't be reached: lengths are estimated at four characters a token.")
    show(_cost(plan))
    for name, side in (("query", plan.queries), ("document", plan.documents)):
        if side.truncated > _MUCH:
            log.warning(
                "%.0f %% of the sampled %s texts are longer than %d tokens and are cut: raise model.head's length",
                100 * side.truncated,
                name,
                side.limit,
            )


def _cost(plan: Plan) -> Table:
    here = "here" if plan.present else "not here"
    cost = Table(title=f"Plan: {plan.hardware} ({here}), {plan.precision}", title_justify="left", show_header=False)
    rows = {
        "parameters": f"{plan.parameters:,} ({plan.trained:,} trained)",
        "tokens a step, a device": f"{plan.tokens_per_step:,}",
        "micro-batch": f"{plan.micro_batch_tokens:,} padded tokens",
        "graphs kept": "all: nothing is computed twice"
        if plan.kept_tokens >= plan.tokens_per_step
        else f"{plan.kept_tokens:,} padded tokens; the rest is recomputed",
        "weights": f"{plan.weights_gib:.2f} GiB",
        "gradients": f"{plan.gradients_gib:.2f} GiB",
        "optimiser": f"{plan.optimiser_gib:.2f} GiB",
        "activations": f"{plan.segment_gib:.2f} GiB a micro-batch, {plan.kept_gib:.2f} GiB kept",
        "estimate": f"{plan.total_gib:.2f} of {plan.memory_gib:.1f} GiB" + ("" if plan.fits else ": does not fit"),
    }
    for name, value in rows.items():
        cost.add_row(name, value)
    return cost
