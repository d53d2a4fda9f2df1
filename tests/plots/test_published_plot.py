"""Plot of published results and ours: one panel per quantity, one row per method and cell of the matrix."""

import pandas as pd

from qatlab.plots.scores import draw_published


def table():
    rows = [
        {"method": method, "trainer.batch_size": size, "deploy": "torch_fp32", "task": "mean", "precision": precision,
         "metric": "ndcg@10", "published": "0.5000", "ours": ours, "ours − published": "–", "note": "–"}
        for method, ours in (("baseline", "0.4000 ± 0.0100"), ("ste", "–")) for size in ("64", "128")
        for precision in ("float32", "int8")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_both_stand_in_the_row_of_their_method():
    figure = draw_published(table(), "title", "scale small: a model")
    assert [axis.get_title() for axis in figure.axes] == [
        "torch_fp32 · float32 · nDCG@10",
        "torch_fp32 · int8 · nDCG@10",
    ]
    left = figure.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "baseline · batch_size=64",
        "baseline · batch_size=128",
        "ste · batch_size=64",
        "ste · batch_size=128",
    ]
    ours, published = (next(line for line in left.get_lines() if line.get_marker() == marker) for marker in ("o", "D"))
    assert published.get_xdata().tolist() == [0.5] * 4
    shown = pd.Series(ours.get_xdata())
    assert shown.tolist()[:2] == [0.4, 0.4]
    assert shown.isna().tolist() == [False, False, True, True]


def test_the_title_names_the_scale_of_our_results():
    title = draw_published(table(), "title", "scale small: a model")._suptitle.get_text()
    assert "scale small: a model" in title.replace("\n", " ")
    assert "standard deviation over seeds" in title.replace("\n", " ")


def test_panels_of_drift_name_their_mean():
    of_drift = table().assign(task="imdb", precision="–").drop_duplicates(["method", "trainer.batch_size"])
    named = pd.concat([of_drift.assign(metric=metric) for metric in ("mean", "mean_distance")])
    titles = [axis.get_title().replace("\n", " ") for axis in draw_published(named, "title", "scale small").figure.axes]
    assert titles == [
        "torch_fp32 · imdb · mean cosine similarity",
        "torch_fp32 · imdb · mean cosine distance",
    ]
