# Every output precision from one encoding.
rule score:
    input:
        unpack(made_from("score")),
        sources=sources("score"),
        lock=LOCK,
    output:
        directory("results/score/{id}"),
    log:
        "results/logs/score/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("score"),
        inputs=input_options,
    shell:
        "python -m qatlab score --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
