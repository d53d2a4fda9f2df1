# Figures of what a causal language model predicted.
rule score_predictions:
    input:
        unpack(made_from("score_predictions")),
    output:
        directory("results/score_predictions/{id}"),
    log:
        "results/logs/score_predictions/{id}.log",
    priority: 4
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("score_predictions"),
        code=code("score_predictions"),
    shell:
        "python -m qatlab score_predictions --config {params.config} --output {output} --threads {threads} --log {log}"
