"""Figures of commands, reasons of failures, and the report's text."""

import json

import pytest

from reasonir.benchmarking.proof.parts import PARTS, Call
from reasonir.benchmarking.proof.record import Record, Report, figures_of, slug

TESTS, BENCH = Call("pytest", ()), Call("reasonir.bench", ())
ENVIRONMENT = {"git": {"commit": "abc", "clean": False}, "packages": {"torch": "2.11.0"}, "gpus": ["A", "B"], "cpus": 2}


def case(name, inner=""):
    return f'<testcase name="{name}">{inner}</testcase>'


def junit(folder, *cases):
    (folder / "tests.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")


def test_counts_and_the_largest_of_each_property(tmp_path):
    recorded = '<properties><property name="difference" value="{}"/></properties>'
    junit(tmp_path, *(case(name, recorded.format(value)) for name, value in (("a", "1e-05"), ("b", "-3"), ("c", "0"))))
    figures, fault = figures_of(TESTS, tmp_path, 0, 60)
    assert fault == ""
    assert figures == {"tests": {"passed": 3, "failed": 0, "skipped": 0, "largest": {"difference": 1e-05}}}


def test_failed_tests_are_named(tmp_path):
    cases = [case(f"test_{number}", "<failure/>" if number % 2 else "<error/>") for number in range(5)]
    junit(tmp_path, *cases, case("test_good"), case("test_left", "<skipped/>"))
    figures, fault = figures_of(TESTS, tmp_path, 1, 60)
    assert fault == "5 of 7 tests failed: test_0, test_1, test_2 and 2 more"
    assert {key: figures["tests"][key] for key in ("passed", "failed", "skipped")} == {
        "passed": 1,
        "failed": 5,
        "skipped": 1,
    }


def test_skipped_tests_prove_nothing(tmp_path):
    junit(tmp_path, case("test_one", "<skipped/>"))
    assert figures_of(TESTS, tmp_path, 0, 60)[1] == "no test was run"


@pytest.mark.parametrize(
    ("call", "status", "output", "reason"),
    [
        (BENCH, None, "", "took longer than 540 s"),
        (BENCH, 2, "Step 1\n\nreasonir: 2 mistakes:\n  - one\n  - two\n", "2 mistakes: - one - two"),
        (BENCH, 1, "Traceback\n  File\nValueError: no\n", "ValueError: no"),
        (BENCH, 3, "", "ended with status 3"),
        (BENCH, -9, "Step 1\n", "killed by SIGKILL: the machine may have run out of memory"),
        (TESTS, 4, "ERROR: not found: tests/x.py\n", "ERROR: not found: tests/x.py"),
        (TESTS, 5, "no tests ran in 0.1s\n", "no tests ran in 0.1s"),
    ],
)
def test_the_reason_of_a_failure(tmp_path, call, status, output, reason):
    (tmp_path / "output.log").write_text(output)
    assert figures_of(call, tmp_path, status, 540) == (None, reason)


def test_an_incomplete_list_of_tests_is_said(tmp_path):
    (tmp_path / "tests.xml").write_text('<testsuites><testsuite><testcase name="one"')
    (tmp_path / "output.log").write_text("")
    assert figures_of(TESTS, tmp_path, None, 60) == (None, "took longer than 60 s")
    assert figures_of(TESTS, tmp_path, 1, 60) == (None, "tests.xml is incomplete")


def test_a_figure_that_is_missing_is_said(tmp_path):
    call = Call("reasonir.bench", (), figure="mfu")
    for peer, fault in (({"mfu": 0.3}, ""), ({}, "mfu isn't known on this device: give peak_tflops=")):
        (tmp_path / "bench.json").write_text(json.dumps({"workloads": {"w": {"peers": {"reasonir": peer}}}}))
        assert figures_of(call, tmp_path, 0, 60)[1].startswith(fault)
        assert bool(figures_of(call, tmp_path, 0, 60)[1]) == bool(fault)


def test_parts_are_in_their_order_and_a_later_record_replaces_an_earlier_one(tmp_path):
    report = Report.open(tmp_path, "Card", "command", ENVIRONMENT)
    report.add("evaluation", Record("failed", "why | not"))
    report.add("agreement", Record("held", "", 61.4, ["python -m pytest"], [{"tests": {"passed": 1, "largest": {}}}]))
    again = Report.open(tmp_path, "Card", "other command", ENVIRONMENT)
    again.add("evaluation", Record("held", "", 60.0))
    assert list(again.parts) == ["agreement", "evaluation"]
    text = again.file.read_text()
    assert "Parts: 2 held; 2.0 minutes. Written by `other command`" in text
    assert "abc, changed" in text
    assert "A, B" in text
    assert f"| {PARTS['agreement'].claim}" in text
    assert "## agreement: held" in text
    assert "not installed" in text


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
        ("Intel(R) Xeon(R) CPU @ 2.80GHz", "intel-xeon-cpu-2-80ghz"),
        ("../../etc", "etc"),
        ("Карта", "unnamed"),
    ],
)
def test_a_cards_name_becomes_a_files(card, expected):
    assert slug(card) == expected
