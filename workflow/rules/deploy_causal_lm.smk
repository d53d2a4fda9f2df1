# A trained causal language model as it is shipped.
rule deploy_causal_lm:
    input:
        unpack(made_from("deploy_causal_lm")),
    output:
        directory("results/deploy_causal_lm/{id}"),
    log:
        "results/logs/deploy_causal_lm/{id}.log",
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        gpu=gpus("deploy_causal_lm"),
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=description("deploy_causal_lm"),
        code=code("deploy_causal_lm"),
    shell:
        "python -m qatlab deploy_causal_lm --config {params.config} --output {output} --threads {threads} --log {log}"
