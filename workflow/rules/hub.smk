# Checks of an upload to the hub that run before the first job; the rule `push` is in reporting.smk.
import os
import shlex

from qatlab.tables.names import model_folder


def check_push(study, owner, public):
    """Raise WorkflowError for an upload that would fail after the last job of the study."""
    from qatlab.commands.push import repositories

    if not isinstance(public, bool):
        raise WorkflowError(f"push_public={public}: give true or false")
    try:
        repositories(owner, study.study, [model_folder(run) for run in study.trained])
    except UserError as error:
        raise WorkflowError(printable(error))


def models_to_push(wildcards):
    """Return the models as input of `push`, or raise WorkflowError before any job if they cannot be uploaded."""
    from qatlab.commands.push import token_from

    (study,) = STUDIES
    if "push" not in config:
        raise WorkflowError(
            "the owner of the uploaded models is missing: snakemake push --config push=OWNER"
        )
    if not study.trained:
        raise WorkflowError(
            f"study '{study.study}' trains nothing, so there is nothing to push"
        )
    try:
        token_from(os.environ)
    except UserError as error:
        raise WorkflowError(printable(error))
    return study_models(study)


PUSH_TO = str(config.get("push", ""))
PUSH_PUBLIC = config.get("push_public", False)
if "push" in config:
    if len(STUDIES) > 1:
        raise WorkflowError(
            "only one study can be pushed at a time: --config study=NAME push=OWNER"
        )
    check_push(STUDIES[0], PUSH_TO, PUSH_PUBLIC)
