# One page of all studies that there are tables of.
rule index:
    input:
        [table for study in STUDIES for table in study_tables(study)],
    output:
        "results/studies/index.md",
    log:
        "results/logs/index.log",
    localrule: True
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=study_description(STUDIES[0]),
        code=code("index"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python -m qatlab index --config {params.config} --input studies={params.folder} --output {params.folder} --log {log}"
