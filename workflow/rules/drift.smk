# A deployment's embeddings against the reference's.
rule drift:
    input:
        unpack(made_from("drift")),
        sources=sources("drift"),
        lock=LOCK,
    output:
        directory("results/drift/{id}"),
    log:
        "results/logs/drift/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        config=description("drift"),
        inputs=input_options,
    shell:
        "python -m qatlab drift --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
