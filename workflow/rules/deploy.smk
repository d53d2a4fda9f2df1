# A trained model as it is shipped.
rule deploy:
    input:
        unpack(made_from("deploy")),
        sources=sources("deploy"),
        lock=LOCK,
    output:
        directory("results/deploy/{id}"),
    log:
        "results/logs/deploy/{id}.log",
    params:
        config=description("deploy"),
        inputs=input_options,
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    shell:
        "{QATLAB} deploy --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
