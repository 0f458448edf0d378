"""What pictures have to be."""

from itertools import pairwise

import numpy as np


def assert_legible(axes):
    """Nothing is cut off, no letters are small, and numbers along an axis do not lie on each other."""
    figure = np.ravel(axes)[0].figure
    figure.canvas.draw()
    renderer, whole = figure.canvas.get_renderer(), figure.bbox
    for panel in figure.axes:
        box = panel.get_tightbbox(renderer)  # of all that is drawn: names of axes and ticks, titles, legends
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < whole.x1 + 1 and box.y1 < whole.y1 + 1, panel.get_title(loc="left")
        for axis, side in ((panel.xaxis, "x"), (panel.yaxis, "y")):
            low, high = sorted(axis.get_view_interval())
            shown = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_text()]
            boxes = [label.get_window_extent(renderer) for label in shown]
            places = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            assert all(one[1] <= other[0] + 1 for one, other in pairwise(places)), (places, figure.dpi)
            assert all(label.get_fontsize() >= 9 for label in [*shown, axis.label, panel.title])
