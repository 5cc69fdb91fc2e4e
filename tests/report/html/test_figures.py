"""Figures as SVG: small whatever the length of a training, safe whatever tasks are called."""

from xml.etree import ElementTree

from reasonir.report.html.figures import draw_curves, draw_tasks

TITLES = {"train/loss": "training loss", "dev/ndcg_at_10": "development nDCG@10"}


def test_curves_that_were_logged_are_drawn():
    assert draw_curves({}, TITLES) is None
    steps = list(range(1, 10001))
    figure = draw_curves({"train/loss": (steps, [float("nan"), *map(float, steps[1:])])}, TITLES)
    ElementTree.fromstring(figure.svg)
    assert "training loss" in figure.svg
    assert "development" not in figure.svg
    assert len(figure.svg) < 30_000
    assert "the mean of up to 42" in figure.title


def test_every_task_has_its_row():
    names = ["a$b$", "<script>alert(1)</script>"]
    figures = {name: {"trained": 0.5, "bm25": 0.25} for name in names}
    figure = draw_tasks(names, figures, dict.fromkeys(names, (0.4, 0.6)), "trained", "nDCG@10")
    ElementTree.fromstring(figure.svg)
    assert "a$b$" in figure.svg
    assert "<script" not in figure.svg
