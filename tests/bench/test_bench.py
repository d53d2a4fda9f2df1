"""Benchmarks: what they measure is what they say, in a size that a test can afford."""

import time

import pandas as pd
import pytest

from qatlab.bench import clip, quantize
from qatlab.bench.row import Row, in_turns
from qatlab.commands import bench
from qatlab.errors import UserError


def test_in_turns_takes_medians_of_interleaved_calls():
    calls = []

    def ours():
        calls.append("ours")
        time.sleep(0.02)

    def reference():
        calls.append("reference")
        time.sleep(0.01)

    ratio = Row("sleep", *in_turns(ours, reference, 4), 3.0, "s", "half as long").ratio
    assert calls[2:] == ["ours", "reference", "reference", "ours"] * 2
    assert 1.5 < ratio < 2.5


def test_quantizing_needs_little_memory_beyond_its_codes():
    rows = {row.name: row for row in quantize.measure(rows=60_000, pairs=1)}
    assert set(rows) == {f"quantize_{p}_{what}" for p in ("int8", "binary") for what in ("time", "memory")}
    assert rows["quantize_int8_memory"].ours < 60_000 * 384 / 2**20 + 8
    assert rows["quantize_binary_memory"].ours < 60_000 * 48 / 2**20 + 8


def test_the_file_has_the_documented_columns_and_bounds_decide_the_exit_code(tmp_path, monkeypatch, capsys):
    rows = [Row("a", 1.0, 2.0, 1.0, "s", "something"), Row("b", 3.0, 2.0, 1.2, "s", "something else")]
    monkeypatch.setattr(quantize, "measure", lambda: iter(rows))
    assert bench.main(["quantize", "--output", str(tmp_path / "bench.csv")]) == 1
    table = pd.read_csv(tmp_path / "bench.csv")
    assert list(table.columns) == ["name", "ours", "reference", "ratio", "bound", "unit", "reference_is"]
    assert table["ratio"].tolist() == [0.5, 1.5]
    assert "ABOVE the bound 1.2" in capsys.readouterr().out
    monkeypatch.setattr(quantize, "measure", lambda: iter(rows[:1]))
    assert bench.main(["quantize", "--output", str(tmp_path / "bench.csv")]) == 0


def test_an_unknown_benchmark_is_one_line():
    with pytest.raises(UserError, match=r"unknown benchmark 'quantise' \(did you mean 'quantize'"):
        bench.main(["quantise"])


def test_the_percentile_of_a_small_weight_is_torchs():
    rows = {row.name: row for row in clip.measure(size=256, pairs=1)}
    assert set(rows) == {"percentile_clip_time", "percentile_clip_difference"}
    assert rows["percentile_clip_difference"].ratio <= 1
