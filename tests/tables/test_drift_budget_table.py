"""The table lists the worst nodes, in the order in which leaving them out helps."""

import json

from qatlab.tables.drift import drift_budget
from records import a_run


def test_a_row_per_deployment_with_a_budget(tmp_path):
    budgets = {
        "one": {"budget": 0.01, "drift": 0.02, "left_out": ["/a"], "nodes": [{"node": "/a", "drift_without": 0.005}]},
        "two": {"budget": 0.01, "drift": 0.001, "left_out": [], "nodes": []},
    }
    for name, budget in budgets.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "budget.json").write_text(json.dumps(budget))
    runs = [a_run(name=name, budgets=["int8"], deployed={"int8": name, "float": "x"}) for name in budgets]
    table = drift_budget([*runs, a_run(name="none", budgets=[], deployed={})], tmp_path)
    assert table["run"].tolist() == ["one", "two"]
    assert table["drift"].tolist() == ["0.020000", "0.001000"]
    assert table["worst nodes (drift without them)"].fillna("").tolist() == ["/a (0.005000)", ""]
    assert table["left in float"].tolist() == [1, 0]
