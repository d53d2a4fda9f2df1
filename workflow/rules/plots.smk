# The study's figures as pictures.
rule plots:
    input:
        study_inputs(["train", "drift"]),
        scores=f"results/studies/{STUDY}/tables/scores.csv",
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
    params:
        config=f"{DESCRIPTIONS}/study/{STUDY}.json",
        study=PLAN.study_description(),
    shell:
        "{QATLAB} plots --config {params.config} --input results=results --input tables=results/studies/{STUDY}/tables"
        " --output results/studies/{STUDY} --log {log}"
