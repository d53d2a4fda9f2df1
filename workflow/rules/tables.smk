# Every figure of the study: long tables, and wide views for people.
for STUDY in STUDIES:

    rule:
        name:
            rule_name("tables", STUDY)
        input:
            study_inputs(STUDY, TABULATED),
            published=published_figures(STUDY),
        output:
            runs=f"{study_path(STUDY)}/runs.csv",
            about=f"{study_path(STUDY)}/study.json",
            whole=touch(whole_tables(STUDY)),
            long=[
                report(
                    f"{study_path(STUDY)}/tables/{name}",
                    caption="../report/long_table.rst",
                    category="Tables",
                    subcategory=report_subcategory(STUDY),
                    labels={"table": name, "form": "every figure"},
                )
                for name in LONG
            ],
            wide=[
                report(
                    f"{study_path(STUDY)}/tables/{name}.csv",
                    caption=f"../report/{name}.rst",
                    category="Tables",
                    subcategory=report_subcategory(STUDY),
                    labels={"table": name.replace("_", " "), "form": "view"},
                )
                for name in STUDY.views
            ],
            prose=expand(
                "{folder}/tables/{name}.{form}",
                folder=study_path(STUDY),
                name=STUDY.views,
                form=FORMS[1:],
            ),
        log:
            f"results/logs/tables/{STUDY.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(STUDY),
            code=code("tables"),
            folder=study_folder,
            results=results_folder,
            plan=STUDY.identity,
            published=published_option,
        shell:
            "python -m qatlab tables --config {params.config} --input results={params.results} {params.published} --output {params.folder} --log {log}"
