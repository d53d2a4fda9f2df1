# In how many bits a run's embeddings differ from the baseline's, and two seeds of the baseline from one another.
rule bit_changes:
    input:
        unpack(made_from("bit_changes")),
    output:
        directory("results/bit_changes/{id}"),
    log:
        "results/logs/bit_changes/{id}.log",
    priority: 3  # before the next encoding too
    conda:
        "../../envs/qatlab.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(15),
    params:
        config=description("bit_changes"),
        code=code("bit_changes"),
    shell:
        "python -m qatlab bit_changes --config {params.config} --output {output} --threads {threads} --log {log}"
