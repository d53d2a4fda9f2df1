# Trained models and their deployments.


# Train one model, on all cores unless the study sets a number, and with one GPU per process if the machine has GPUs.
rule train:
    input:
        unpack(inputs_of("train")),
    output:
        directory("results/train/{id}"),
    log:
        "results/logs/train/{id}.log",
    priority: 1  # before deployments, which take one core each and can then run at the same time
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("train")
    resources:
        gpu=gpus("train"),
        nodes=slurm_option("train", "nodes"),
        tasks=slurm_option("train", "tasks"),
        mpi=slurm_option("train", "mpi"),
        gres=slurm_option("train", "gres"),
        tasks_per_gpu=slurm_option("train", "tasks_per_gpu"),
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


# Export a trained model in the form of a deployment.
rule deploy:
    input:
        unpack(inputs_of("deploy")),
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
