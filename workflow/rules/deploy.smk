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
    conda:
        "../../envs/qatlab.yaml"
    threads: deploy_threads
    resources:
        gpu=gpus("deploy"),
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("deploy"),
        inputs=input_options,
    shell:
        "python -m qatlab deploy --config {params.config} {params.inputs} --output {output} --threads {threads} --log {log}"
