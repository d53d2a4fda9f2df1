# The workflow is workflow/Snakefile, where Snakemake's workflow catalog expects it.
include: "workflow/Snakefile"
