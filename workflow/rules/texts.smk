# Texts that are only embedded, for drift.
rule texts:
    output:
        directory("results/texts/{id}"),
    log:
        "results/logs/texts/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("texts"),
        code=code_of_job("texts"),
    shell:
        "python -m qatlab texts --config {params.config} --output {output} --threads {threads} --log {log}"
