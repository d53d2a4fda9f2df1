from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/hub.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/measuring.smk"
include: "workflow/rules/reporting.smk"


rule all:
    default_target: True
    input:
        [study_tables(study) for study in STUDIES],
        [study_plots(study) for study in STUDIES],
        [study_page(study) for study in STUDIES],
        [study_mteb_results(study) for study in STUDIES],
        [study_models(study) for study in STUDIES],
        "results/studies/index.html",
