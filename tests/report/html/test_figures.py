"""Figures as SVG: small for any length of training, safe for any task name."""

from xml.etree import ElementTree

from reasonir.report.html.figures import draw_curves, draw_tasks

TITLES = {"train/loss": "training loss", "dev/ndcg_at_10": "development nDCG@10"}


def test_logged_curves_are_plotted():
    assert draw_curves({}, TITLES) is None
    steps = list(range(1, 10001))
    figure = draw_curves({"train/loss": (steps, [float("nan"), *map(float, steps[1:])])}, TITLES)
    ElementTree.fromstring(figure.svg)
    assert "training loss" in figure.svg
    assert "development" not in figure.svg
    assert len(figure.svg) < 30_000
    assert "the mean of up to 42" in figure.title


def test_every_task_has_a_row():
    names = ["a$b$", "<script>alert(1)</script>"]
    figures = {name: {"trained": 0.5, "bm25": 0.25} for name in names}
    figure = draw_tasks(names, figures, dict.fromkeys(names, (0.4, 0.6)), "trained", "nDCG@10")
    ElementTree.fromstring(figure.svg)
    assert "a$b$" in figure.svg
    assert "<script" not in figure.svg
