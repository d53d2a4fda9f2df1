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
        code=code("score"),
    shell:
        "python -m qatlab score --config {params.config} --output {output} --threads {threads} --log {log}"
