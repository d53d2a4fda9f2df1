# Queries, documents and judgements as Parquet; a model, where hard negatives are mined with one.
rule task:
    input:
        unpack(made_from("task")),
    output:
        directory("results/task/{id}"),
    log:
        "results/logs/task/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("task"),
        code=code_of_job("task"),
    shell:
        "python -m qatlab task --config {params.config} --output {output} --threads {threads} --log {log}"
