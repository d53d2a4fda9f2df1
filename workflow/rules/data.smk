# Training rows as Parquet, wherever they come from.
rule data:
    output:
        directory("results/data/{id}"),
    log:
        "results/logs/data/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("data"),
        code=code_of_job("data"),
    shell:
        "python -m qatlab data --config {params.config} --output {output} --threads {threads} --log {log}"
