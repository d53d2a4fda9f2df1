# The study's figures as pictures.
for STUDY in STUDIES:

    rule:
        name:
            rule_name("plots", STUDY)
        input:
            study_inputs(STUDY, [*TRAININGS, "drift"]),
            tables=drawn_tables(STUDY),
        output:
            svg=[
                report(
                    f"{study_path(STUDY)}/plots/{name}.svg",
                    caption=f"../report/{name}.rst",
                    category="Plots",
                    subcategory=report_subcategory(STUDY),
                    labels={"plot": PLOT_TITLES[name]},
                )
                for name in STUDY.plots
            ],
            png=expand(
                "{folder}/plots/{name}.png",
                folder=study_path(STUDY),
                name=STUDY.plots,
            ),
        log:
            f"results/logs/plots/{STUDY.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(STUDY),
            code=code("plots"),
            folder=study_folder,
            results=results_folder,
            plan=STUDY.identity,
        shell:
            "python -m qatlab plots --config {params.config} --input results={params.results} --input tables={params.folder}/tables"
            " --output {params.folder} --log {log}"
