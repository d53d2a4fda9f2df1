# A base model as a plain Sentence Transformers folder.
rule model:
    input:
        sources=sources("model"),
        lock=LOCK,
    output:
        directory("results/model/{id}"),
    log:
        "results/logs/model/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("model"),
    shell:
        "python -m qatlab model --config {params.config} --output {output} --threads {threads} --log {log}"
