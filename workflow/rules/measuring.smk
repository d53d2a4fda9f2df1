# What deployed models give for texts, and every figure of it.


# One pass of a deployed model over a task. All cores unless the study says how many, so that texts per second are not measured beside another job.
rule encode:
    input:
        unpack(made_from("encode")),
    output:
        directory("results/encode/{id}"),
    log:
        "results/logs/encode/{id}.log",
    priority: 2  # before the next training or deployment: figures come as soon as they can
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


# Every output precision from one encoding.
rule score:
    input:
        unpack(made_from("score")),
    output:
        directory("results/score/{id}"),
    log:
        "results/logs/score/{id}.log",
    priority: 4  # before the next encoding, which takes all cores; beside a drift, which takes one as well
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


# A deployment's embeddings against the reference's.
rule drift:
    input:
        unpack(made_from("drift")),
    output:
        directory("results/drift/{id}"),
    log:
        "results/logs/drift/{id}.log",
    priority: 3  # before the next encoding too
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


# In how many bits a run's embeddings differ from the baseline's, and two seeds of the baseline from one another.
rule bit_changes:
    input:
        unpack(made_from("bit_changes")),
    output:
        directory("results/bit_changes/{id}"),
    log:
        "results/logs/bit_changes/{id}.log",
    priority: 3  # before the next encoding too
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
