# One training. It takes all cores unless the study says how many, and a GPU where the machine has one.
rule train:
    input:
        unpack(made_from("train")),
    output:
        directory("results/train/{id}"),
    log:
        "results/logs/train/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("train")
    resources:
        gpu=gpus("train"),
        mem_mb=growing(6000),
        runtime=growing(240),
    params:
        config=description("train"),
        code=code("train"),
    shell:
        "python -m qatlab train --config {params.config} --output {output} --threads {threads} --log {log}"
