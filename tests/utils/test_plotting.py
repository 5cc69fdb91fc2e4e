"""The common style of plots."""

import matplotlib
import pytest

from reasonir.utils.plotting import COLOURS, drawing, look


def test_a_plot_is_saved_in_the_style_and_leaves_matplotlib_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    with drawing(tmp_path / "a.png", 4, 2, panels=2, ratios=(2, 1)) as (_, axes):
        axes[0].plot([1, 2], [3, 4], **look(7))
        assert len(axes) == 2
        assert not axes[0].spines["top"].get_visible()
        assert axes[0].xaxis.get_gridlines()[0].get_visible()
        assert axes[0].lines[0].get_color() == COLOURS[1]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_a_plot_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), drawing(tmp_path / "a.png"):
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())
