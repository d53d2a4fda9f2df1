"""Bars stand where the table says, and what may be nothing is pale."""

import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from qatlab.plots import scores

ROWS = [
    ("float", "0.8000", "–", "–", "–"),
    ("weights", "0.7900", "-0.0100", "-0.0150 to -0.0050", "worse"),
    ("activations", "0.7950", "+0.0050", "-0.0010 to +0.0110", "not separable"),
    ("export", "0.7950", "+0.0000", "–", "not separable"),
    ("total", "0.7950", "-0.0050", "-0.0090 to -0.0010", "worse"),
]


pytestmark = pytest.mark.usefixtures("plot_style")


def table(*precisions):
    columns = ["component", "value", "difference", "95 % interval", "verdict"]
    parts = [pd.DataFrame(ROWS, columns=columns) for _ in precisions]
    for part, precision in zip(parts, precisions, strict=True):
        for place, (name, value) in enumerate(
            (("method", "baseline"), ("deploy", "onnx_int8"), ("output precision", precision))
        ):
            part.insert(place, name, value)
    return pd.concat(parts, ignore_index=True)


def test_bars_go_from_level_to_level():
    figure = scores.draw_waterfall(table("int8", "binary"), "ndcg@10", "A study")
    assert [axis.get_title() for axis in figure.axes] == [
        "baseline · onnx_int8 · int8",
        "baseline · onnx_int8 · binary",
    ]
    axis = figure.axes[0]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in axis.patches}
    between = {at: sorted((bar.get_y(), bar.get_y() + bar.get_height())) for at, bar in bars.items()}
    bottom = axis.get_ylim()[0]
    assert 0 < bottom < 0.785  # below every whisker
    assert between[0] == pytest.approx([bottom, 0.80])
    assert between[1] == pytest.approx([0.79, 0.80])
    assert between[2] == pytest.approx([0.79, 0.795])
    assert between[4] == pytest.approx([bottom, 0.795])
    assert bars[1].get_facecolor()[:3] == pytest.approx(to_rgb(scores.LOSS))
    assert bars[2].get_facecolor()[:3] == pytest.approx(scores._pale(scores.GAIN))
    lines = [line.get_segments() for line in axis.collections if line.get_linewidth() > 1]
    whiskers = [segments[0][:, 1] for segments in lines if len(segments[0])]
    assert len(whiskers) == 2  # the third has no interval
    assert whiskers[0] == pytest.approx([0.785, 0.795])
    assert whiskers[1] == pytest.approx([0.789, 0.801])


def test_what_is_written_can_be_read():
    figure = scores.draw_waterfall(table("int8"), "ndcg@10", "A study")
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["0.8000", "0.7950", "−0.0100", "+0.0050", "+0.0000"]
    assert axis.get_xticklabels()[-1].get_text() == "shipped\n(−0.0050)"
    assert "axes don't begin at 0" in figure._suptitle.get_text().replace("\n", " ")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in [*axis.texts, *axis.get_xticklabels()]]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
