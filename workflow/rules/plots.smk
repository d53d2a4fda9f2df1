# The study's figures as pictures.
for PLAN in PLANS:

    rule:
        name:
            rule_name("plots", PLAN)
        input:
            study_inputs(PLAN, [*TRAININGS, "drift"]),
            tables=drawn_tables(PLAN),
            sources=sources("plots"),
            lock=LOCK,
        output:
            svg=[
                report(
                    f"{study_path(PLAN)}/plots/{name}.svg",
                    caption=f"../report/{name}.rst",
                    category="Plots",
                    subcategory=report_subcategory(PLAN),
                    labels={"plot": PLOT_TITLES[name]},
                )
                for name in PLAN.plot_names()
            ],
            png=expand(
                "{folder}/plots/{name}.png",
                folder=study_path(PLAN),
                name=PLAN.plot_names(),
            ),
        log:
            f"results/logs/plots/{PLAN.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(PLAN),
            folder=study_folder,
            plan=study_identity(PLAN),
        shell:
            "python -m qatlab plots --config {params.config} --input results=results --input tables={params.folder}/tables"
            " --output {params.folder} --log {log}"
