# A deployment's embeddings against the reference's.
rule drift:
    input:
        unpack(made_from("drift")),
    output:
        directory("results/drift/{id}"),
    log:
        "results/logs/drift/{id}.log",
    priority: 3  # before the next encoding too
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=description("drift"),
        code=code("drift"),
    shell:
        "python -m qatlab drift --config {params.config} --output {output} --threads {threads} --log {log}"
