# Embeddings or predictions of deployed models, and metrics of them.


# Run a deployed model over a task, on all cores unless the study sets a number, so that no other job affects the texts per second.
rule encode:
    input:
        unpack(inputs_of("encode")),
    output:
        directory("results/encode/{id}"),
    log:
        "results/logs/encode/{id}.log",
    priority: 2  # before the next training or deployment, so that results come early
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("encode")
    resources:
        gpu=gpus("encode"),
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        config=description("encode"),
        code=code_of_job("encode"),
    message:
        "Encode {wildcards.id}"
    shell:
        "python -m qatlab encode --config {params.config} --output {output} --threads {threads} --log {log}"


# Score every output precision of one encoding.
rule score:
    input:
        unpack(inputs_of("score")),
    output:
        directory("results/score/{id}"),
    log:
        "results/logs/score/{id}.log",
    priority: 4  # before the next encoding, which takes all cores; one core each, so that scores and drift run at the same time
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("score"),
        code=code_of_job("score"),
    message:
        "Score {wildcards.id}"
    shell:
        "python -m qatlab score --config {params.config} --output {output} --threads {threads} --log {log}"


# Compare the embeddings of a deployment with those of the reference.
rule drift:
    input:
        unpack(inputs_of("drift")),
    output:
        directory("results/drift/{id}"),
    log:
        "results/logs/drift/{id}.log",
    priority: 3  # before the next encoding
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=description("drift"),
        code=code("drift"),
    message:
        "Compare embeddings {wildcards.id}"
    shell:
        "python -m qatlab drift --config {params.config} --output {output} --threads {threads} --log {log}"


# Count the bits in which embeddings of a run and the baseline differ, or of two seeds of the baseline.
rule bit_changes:
    input:
        unpack(inputs_of("bit_changes")),
    output:
        directory("results/bit_changes/{id}"),
    log:
        "results/logs/bit_changes/{id}.log",
    priority: 3  # before the next encoding
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(15),
    params:
        config=description("bit_changes"),
        code=code("bit_changes"),
    message:
        "Count changed bits {wildcards.id}"
    shell:
        "python -m qatlab bit_changes --config {params.config} --output {output} --threads {threads} --log {log}"


# Index and search one encoding with a vector search engine, on all cores, so that no other job affects the queries per second.
rule engine:
    input:
        unpack(inputs_of("engine")),
    output:
        directory("results/engine/{id}"),
    log:
        "results/logs/engine/{id}.log",
    priority: 3  # before the next encoding
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("engine")
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        config=description("engine"),
        code=code_of_job("engine"),
    message:
        "Search with {wildcards.id}"
    shell:
        "python -m qatlab engine --config {params.config} --output {output} --threads {threads} --log {log}"
