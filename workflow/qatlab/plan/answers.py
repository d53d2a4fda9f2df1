"""Comparisons that answer a study's question, with the names of the chosen scale."""

from typing import Any

from qatlab.errors import UserError, unknown
from qatlab.plan.runs import Run
from qatlab.study.record import AnswerConfig

Names = dict[str, dict[str, object]]


def planned_answers(answers: list[AnswerConfig], runs: list[Run], stands_for: Names) -> list[AnswerConfig]:
    """Return the answers that the study's runs provide; overrides may have removed a method, deployment or value.

    Args:
        answers: the answers of the study's file.
        runs: all runs of the study.
        stands_for: names in the study's file by the name at this scale; see `compose.stands_for`.

    Raises:
        UserError: for a name that the study's file does not have.
    """
    at_scale: Names = {key: {str(full): scaled for scaled, full in names.items()} for key, names in stands_for.items()}
    renamed = [_at_scale(answer, at_scale) for answer in answers]
    return [answer for answer in renamed if _has_runs(answer, runs)]


def _at_scale(answer: AnswerConfig, names: Names) -> AnswerConfig:
    for key in answer.where:
        if key not in names:
            raise UserError(
                f"study.answers: '{key}' is not a key of the study's matrix, or a scale changes the number of its values"
            )
    renamed = {
        "method": _name("method", answer.method, names),
        "against": _name("method", answer.against, names),
        "deploy": answer.deploy and _name("deploy", answer.deploy, names),
        "against_deploy": answer.against_deploy and _name("deploy", answer.against_deploy, names),
        "where": {key: _name(key, value, names) for key, value in answer.where.items()},
    }
    return answer.model_copy(update=renamed)


def _name(key: str, name: Any, names: Names) -> Any:
    if key not in names:  # not swept: all runs have the same one
        return name
    if str(name) not in names[key]:
        raise unknown(f"{key} in study.answers", name, names[key])
    return names[key][str(name)]


def _has_runs(answer: AnswerConfig, runs: list[Run]) -> bool:
    return all(
        any(
            run.config.method.name == method
            and (not deploy or deploy in run.config.deploy)
            and all(str(run.cell.get(key)) == str(value) for key, value in answer.where.items())
            for run in runs
        )
        for method, deploy in (
            (answer.method, answer.deploy),
            (answer.against, answer.against_deploy or answer.deploy),
        )
    )
