# A trained model as it is shipped.
rule deploy:
    input:
        unpack(made_from("deploy")),
    output:
        directory("results/deploy/{id}"),
    log:
        "results/logs/deploy/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("deploy")
    resources:
        gpu=gpus("deploy"),
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("deploy"),
        code=code_of_job("deploy"),
    shell:
        "python -m qatlab deploy --config {params.config} --output {output} --threads {threads} --log {log}"
