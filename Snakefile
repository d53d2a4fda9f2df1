from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/hub.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/task.smk"
include: "workflow/rules/texts.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/train_causal_lm.smk"
include: "workflow/rules/deploy.smk"
include: "workflow/rules/deploy_causal_lm.smk"
include: "workflow/rules/encode.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/score_predictions.smk"
include: "workflow/rules/drift.smk"
include: "workflow/rules/bit_changes.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/plots.smk"
include: "workflow/rules/mteb_results.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/push.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/failed.smk"


rule all:
    default_target: True
    input:
        [study_tables(study) for study in STUDIES],
        [study_plots(study) for study in STUDIES],
        [study_mteb_results(study) for study in STUDIES],
        [study_models(study) for study in STUDIES],
        "results/studies/index.md",
