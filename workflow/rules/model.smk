# A base model as a plain Sentence Transformers folder.
rule model:
    output:
        directory("results/model/{id}"),
    log:
        "results/logs/model/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    params:
        config=description("model"),
        code=code("model"),
    shell:
        "python -m qatlab model --config {params.config} --output {output} --threads {threads} --log {log}"
