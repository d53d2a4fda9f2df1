# One training of a causal language model. It takes all cores unless the study says how many, and a GPU where the machine has one.
rule train_causal_lm:
    input:
        unpack(made_from("train_causal_lm")),
    output:
        directory("results/train_causal_lm/{id}"),
    log:
        "results/logs/train_causal_lm/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("train_causal_lm")
    resources:
        gpu=gpus("train_causal_lm"),
        mem_mb=growing(6000),
        runtime=growing(240),
    params:
        config=description("train_causal_lm"),
        code=code("train_causal_lm"),
    shell:
        "python -m qatlab train_causal_lm --config {params.config} --output {output} --threads {threads} --log {log}"
