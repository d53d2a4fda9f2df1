# The workflow is workflow/Snakefile, where Snakemake's workflow catalog expects it. Snakemake ignores the default target of included
# files, also where a rule has the directive default_target.
include: "workflow/Snakefile"


workflow.default_target = "all"
