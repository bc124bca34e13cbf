"""A legend of many names stays within the figure, and leaves room for what it names."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from thawlab.report.figures.style import above, canvas


@pytest.mark.parametrize(("names", "columns"), [(1, 6), (3, 3), (16, 6), (40, 6)])
@pytest.mark.parametrize("width", [3.2, 6.4, 8.6])
def test_a_legend_is_within_its_figure_and_the_axes_keep_their_height(names, columns, width):
    figure = canvas(width, 3.0)
    axes = figure.add_subplot()
    labels = [f"first stages {i}" for i in range(names)]
    above(figure, [Line2D([], []) for _ in labels], labels, columns, handlelength=3.2)
    painted = FigureCanvasAgg(figure)
    painted.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent(painted.get_renderer())
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert axes.bbox.height > 0.4 * 3.0 * figure.dpi
    assert not axes.bbox.overlaps(box)
