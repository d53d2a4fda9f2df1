# The study's figures as pictures.
rule plots:
    input:
        study_inputs([*TRAININGS, "drift"]),
        tables=drawn_tables(),
        sources=sources("plots"),
        lock=LOCK,
    output:
        svg=[
            report(
                f"results/studies/{STUDY}/plots/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Plots",
                labels={"plot": PLOT_TITLES[name]},
            )
            for name in PLAN.plot_names()
        ],
        png=expand(
            "results/studies/{study}/plots/{name}.png",
            study=STUDY,
            name=PLAN.plot_names(),
        ),
    log:
        f"results/logs/plots/{STUDY}.log",
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=f"{DESCRIPTIONS}/study/{STUDY}.json",
        folder=study_folder,
        plan=study_identity(),
    shell:
        "python -m qatlab plots --config {params.config} --input results=results --input tables={params.folder}/tables"
        " --output {params.folder} --log {log}"
