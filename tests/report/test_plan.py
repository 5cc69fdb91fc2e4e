"""Summary at the start of a run."""

import logging
from types import SimpleNamespace

import pytest

from reasonir.data.batches.lengths import Column
from reasonir.report import plan as module
from reasonir.report.plan import show_start
from reasonir.utils.memory_meter import GIB


def planned(*, saved=100, fits=True, lengths=(10, 20, 40), ranks=1):
    """Return a plan with the attributes that the summary reads."""
    hardware = SimpleNamespace(name="gpu", precision="bf16-mixed", ranks=ranks, memory_gib=4.0)
    budget = SimpleNamespace(micro_batch=2048, max_saved_tokens=saved)
    return SimpleNamespace(
        fit=SimpleNamespace(hardware=hardware, budget=budget, cost=SimpleNamespace(total=GIB), fits=fits),
        texts=SimpleNamespace(tokens=100),
        trace=SimpleNamespace(parameters=2000, trained=1000),
        lengths=SimpleNamespace(
            columns=(Column.of("queries", "query", list(lengths)),), limits={"query": 32}, queries_cut=0.0
        ),
    )


def started(plan, caplog, **given):
    """Return the lines and the warnings."""
    caplog.set_level(logging.INFO, "reasonir")
    options = {"model": "tiny", "data": "demo", "experiment": "demo_tiny"}
    show_start(plan, **{"overrides": ["a=1"], "options": options, "data": {}, "folder": "out", **given})
    first, *warnings = (record.getMessage() for record in caplog.records)
    return first.splitlines(), warnings


def test_six_lines_summarise_the_run(caplog):
    lines, _ = started(planned(), caplog, data={"queries": 1500, "distinct_documents": 3})
    assert lines == [
        "Overrides: a=1",
        "Options:   model=tiny data=demo",
        "Data:      1,500 queries, 3 distinct documents",
        "Model:     2,000 parameters (1,000 trained); at most 32 tokens per query",
        "Plan:      gpu, bf16-mixed; 100 tokens per step in micro-batches of 2,048, all activations saved; "
        "1.00 of 4.0 GiB",
        "Folder:    out",
    ]


def test_overrides_can_be_pasted(caplog):
    lines, _ = started(planned(), caplog, overrides=["data.path=/a b", "--config-dir=c"])
    assert lines[0] == "Overrides: 'data.path=/a b' --config-dir=c"


def test_recomputation_several_devices_and_a_lack_of_memory_are_shown(caplog):
    lines, _ = started(planned(saved=60, fits=False, ranks=4), caplog, overrides=[])
    assert lines[0] == "Overrides: none"
    assert lines[2] == "Data:      not readable here"
    assert lines[4].startswith("Plan:      4 x gpu, bf16-mixed; 100 tokens per step and device in ")
    assert lines[4].endswith("activations of 60 tokens saved; 1.00 of 4.0 GiB: does not fit")


@pytest.mark.parametrize(("lengths", "warned"), [((10, 20, 40), True), ((10,) * 9 + (40,), False)])
def test_a_limit_that_cuts_more_than_a_fifth_is_warned_of(caplog, lengths, warned):
    _, warnings = started(planned(lengths=lengths), caplog)
    assert bool(warnings) == warned
    assert all("of the sampled queries are longer than 32 tokens" in message for message in warnings)


def test_other_ranks_print_nothing(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "reasonir")
    monkeypatch.setattr(module, "own_rank", lambda: 1)
    show_start(planned(), overrides=[], options={}, data={}, folder="out")
    assert not caplog.records
