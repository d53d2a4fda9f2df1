"""The smallest study with a training, through real Snakemake: the only run of a workflow in `make test`."""

import json

import pandas as pd

from checkouts import STUDY, Checkout


def test_a_training_becomes_scores_in_tables_and_is_not_run_again(tmp_path, tiny_model, tiny_files):
    text = STUDY.format(model=tiny_model, files=tiny_files, methods="[baseline]", deploy="[torch_fp32]")
    checkout = Checkout(tmp_path, text, "tiny")
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout
    scores = pd.read_csv(checkout.tables() / "scores.csv")
    assert set(scores["method"]) == {"baseline"}
    assert set(scores["queries"]) == {40}
    assert scores["value"].between(0, 1).all()
    (trained,) = (tmp_path / "results" / "train").iterdir()
    assert len(pd.read_csv(trained / "log.csv")) == 5  # 80 rows in batches of 16
    cost = json.loads((trained / "cost.json").read_text())
    assert cost["processes"] == 1
    assert checkout.would_run() == set()
