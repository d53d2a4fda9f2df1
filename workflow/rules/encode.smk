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
    shell:
        "python -m qatlab encode --config {params.config} --output {output} --threads {threads} --log {log}"
