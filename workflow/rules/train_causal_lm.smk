# One training of a causal language model. It takes all cores unless the study says how many, and a GPU for each of its processes where the machine has any.
rule train_causal_lm:
    input:
        unpack(made_from("train_causal_lm")),
    output:
        directory("results/train_causal_lm/{id}"),
    log:
        "results/logs/train_causal_lm/{id}.log",
    priority: 1  # before deployments, which take one core each: two of them run at once, when no training waits for both
    conda:
        "../../envs/qatlab.yaml"
    threads: threads("train_causal_lm")
    resources:
        gpu=gpus("train_causal_lm"),
        nodes=of_several_nodes("train_causal_lm", "nodes"),
        tasks=of_several_nodes("train_causal_lm", "tasks"),
        mpi=of_several_nodes("train_causal_lm", "mpi"),
        gres=of_several_nodes("train_causal_lm", "gres"),
        tasks_per_gpu=of_several_nodes("train_causal_lm", "tasks_per_gpu"),
        mem_mb=growing(6000, "train_causal_lm"),
        runtime=growing(240),
    params:
        config=description("train_causal_lm"),
        code=code("train_causal_lm"),
        on_each_node=on_each_node("train_causal_lm"),
    shell:
        "{params.on_each_node}python -m qatlab train_causal_lm --config {params.config} --output {output} --threads {threads} --log {log}"
