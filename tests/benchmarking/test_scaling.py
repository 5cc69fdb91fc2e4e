"""Scaling of a step: the grid, the slope, and the command."""

import json

import pytest

from reasonir.benchmarking.scaling import points, slope
from reasonir.errors import InputError
from tests.running import run


def test_the_grid_ends_at_the_most_tokens():
    assert points([2, 4, 8], [10, 100], 1, max_tokens=464) == [(2, 10), (2, 100), (4, 10), (8, 10)]
    with pytest.raises(InputError, match=r"scaling\.max_tokens=100 leaves 0 points: raise it"):
        points([2, 4], [10, 100], 1, max_tokens=100)


def test_the_slope_is_the_exponent():
    measured = [{"tokens": n, "step_s": 3 * n**1.5, "peak_bytes": 7 if n > 10 else 0} for n in (10, 30, 200)]
    assert slope(measured, "step_s") == pytest.approx(1.5)
    assert slope(measured, "peak_bytes") == pytest.approx(0.0)
    assert slope(measured[:1], "step_s") == 0.0


@pytest.mark.slow
def test_the_engines_step_is_measured_over_batches_and_lengths(home):
    grid = ("scaling.batch_sizes=[2,8]", "scaling.lengths=[64,600]", "scaling.max_tokens=10000")
    done = run("bench", "mode=scaling", "model=random_qwen_tiny", "repeats=1", *grid, home=home)
    assert done.status == 0, done.err
    result = json.loads((done.folder / "bench.json").read_text())["scaling"]
    assert [(point["batch_size"], point["length"]) for point in result["points"]] == [
        (2, 64),
        (2, 600),
        (8, 64),
        (8, 600),
    ]
    # Markers before texts make them one token longer unless they are truncated.
    assert [point["tokens"] for point in result["points"]][::2] == [2 * (33 + 2 * 64) + 2, 8 * (33 + 2 * 64) + 8]
    assert result["peer"] == "reasonir"
    assert f"seconds {result['slopes']['step_s']:.2f}" in done.out
    assert (done.folder / "bench.png").stat().st_size > 5000
    short = run("bench", "mode=scaling", "model=tiny", *grid, home=home)
    assert short.status == 2
    assert "document_length=600 is more than this model can read: set it to 512 or less" in short.err
