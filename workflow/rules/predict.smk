# One pass of a deployed causal language model over a task: translations, or how likely it finds texts.
rule predict:
    input:
        unpack(made_from("predict")),
    output:
        directory("results/predict/{id}"),
    log:
        "results/logs/predict/{id}.log",
    priority: 2
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("predict")
    resources:
        gpu=gpus("predict"),
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        config=description("predict"),
        code=code("predict"),
    shell:
        "python -m qatlab predict --config {params.config} --output {output} --threads {threads} --log {log}"
