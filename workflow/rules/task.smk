# Queries, documents and judgements as Parquet; a model, where hard negatives are mined with one.
rule task:
    input:
        unpack(made_from("task")),
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
        inputs=input_options,
    shell:
        "python -m qatlab task --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
