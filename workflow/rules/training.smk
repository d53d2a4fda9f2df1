# Trained models, and the forms in which they are served.


# One training. It takes all cores unless the study says how many, and a GPU for each of its processes where the machine has any.
rule train:
    input:
        unpack(made_from("train")),
    output:
        directory("results/train/{id}"),
    log:
        "results/logs/train/{id}.log",
    priority: 1  # before deployments, which take one core each: two of them run at once, when no training waits for both
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("train")
    resources:
        gpu=gpus("train"),
        nodes=of_several_nodes("train", "nodes"),
        tasks=of_several_nodes("train", "tasks"),
        mpi=of_several_nodes("train", "mpi"),
        gres=of_several_nodes("train", "gres"),
        tasks_per_gpu=of_several_nodes("train", "tasks_per_gpu"),
        mem_mb=growing(6000, "train"),
        runtime=growing(240),
    params:
        config=description("train"),
        code=code_of_job("train"),
        on_each_node=on_each_node("train"),
    message:
        "Train {wildcards.id}"
    shell:
        "{params.on_each_node}python -m qatlab train --config {params.config} --output {output} --threads {threads} --log {log}"


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
    message:
        "Deploy {wildcards.id}"
    shell:
        "python -m qatlab deploy --config {params.config} --output {output} --threads {threads} --log {log}"
