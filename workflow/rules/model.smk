# A base model as a plain Sentence Transformers folder.
rule model:
    input:
        sources=sources("model"),
        lock=LOCK,
    output:
        directory("results/model/{id}"),
    log:
        "results/logs/model/{id}.log",
    params:
        config=description("model"),
    threads: 1
    shell:
        "{QATLAB} model --config {params.config} --output {output} --threads {threads} --log {log}"
