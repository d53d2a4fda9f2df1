# Queries, documents and judgements as Parquet.
rule task:
    input:
        sources=sources("task"),
        lock=LOCK,
    output:
        directory("results/task/{id}"),
    log:
        "results/logs/task/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("task"),
    shell:
        "python -m qatlab task --config {params.config} --output {output} --threads {threads} --log {log}"
