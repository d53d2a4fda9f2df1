"""Runs of a study as its record has them, with what a test leaves out filled in."""

from typing import Any

from qatlab.study.record import RunRecord, StudyRecord


def a_run(**values: Any) -> RunRecord:
    """Return a run's record; without a name or a method, it is called "run" and trained by "method"."""
    return RunRecord.model_validate({"name": "run", "method": "method", **values})


def a_study(**values: Any) -> StudyRecord:
    """Return a study's record: of no runs and one task "code" of retrieval, but for what is given."""
    usual = {
        "name": "tiny",
        "title": "A tiny study",
        "baseline": "baseline",
        "primary_metric": "ndcg@10",
        "main_metrics": {"code": "ndcg@10"},
        "kinds": {"code": "retrieval"},
        "scale": "full",
        "chosen_axes": ["none"],
        "float_deployment": "torch_fp32",
        "deployments": ["torch_fp32"],
        "evaluate": {},
        "runs": [],
    }
    return StudyRecord.model_validate({**usual, **values})
