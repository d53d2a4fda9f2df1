# Queries, documents and judgements as Parquet.
rule task:
    input:
        sources=sources("task"),
        lock=LOCK,
    output:
        directory("results/task/{id}"),
    log:
        "results/logs/task/{id}.log",
    params:
        config=description("task"),
    threads: 1
    shell:
        "{QATLAB} task --config {params.config} --output {output} --threads {threads} --log {log}"
