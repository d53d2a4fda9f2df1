# Inputs of studies: base models, training rows, evaluation tasks, sets of texts.


# A base model as a plain Sentence Transformers folder.
rule model:
    output:
        directory("results/model/{id}"),
    log:
        "results/logs/model/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("model"),
        code=code("model"),
    message:
        "Fetch base model {wildcards.id}"
    shell:
        "python -m qatlab model --config {params.config} --output {output} --threads {threads} --log {log}"


# Training rows as Parquet, from any source.
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
    message:
        "Write training rows {wildcards.id}"
    shell:
        "python -m qatlab data --config {params.config} --output {output} --threads {threads} --log {log}"


# Queries, documents and judgements as Parquet. A model is an input if hard negatives are mined with one.
rule task:
    input:
        unpack(inputs_of("task")),
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
    message:
        "Write evaluation task {wildcards.id}"
    shell:
        "python -m qatlab task --config {params.config} --output {output} --threads {threads} --log {log}"


# Texts without judgements, which are embedded to measure drift.
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
    message:
        "Write texts {wildcards.id}"
    shell:
        "python -m qatlab texts --config {params.config} --output {output} --threads {threads} --log {log}"
