# Training rows as Parquet, wherever they come from.
rule data:
    input:
        sources=sources("data"),
        lock=LOCK,
    output:
        directory("results/data/{id}"),
    log:
        "results/logs/data/{id}.log",
    params:
        config=description("data"),
    threads: 1
    shell:
        "{QATLAB} data --config {params.config} --output {output} --threads {threads} --log {log}"
