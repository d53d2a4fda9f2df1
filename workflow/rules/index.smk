# One page of all studies that there are tables of.
rule index:
    input:
        [table for plan in PLANS for table in study_tables(plan)],
        sources=sources("index"),
        lock=LOCK,
    output:
        "results/studies/index.md",
    log:
        "results/logs/index.log",
    localrule: True
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=study_description(PLANS[0]),
    shell:
        "python -m qatlab index --config {params.config} --input studies=results/studies --output results/studies --log {log}"
