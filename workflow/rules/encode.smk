# One pass of a deployed model over a task. All cores unless the study says how many, so that texts per second are not measured beside another job.
rule encode:
    input:
        unpack(made_from("encode")),
        sources=sources("encode"),
        lock=LOCK,
    output:
        directory("results/encode/{id}"),
    log:
        "results/logs/encode/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("encode")
    resources:
        gpu=gpus("encode"),
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        config=description("encode"),
        inputs=input_options,
    shell:
        "python -m qatlab encode --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
