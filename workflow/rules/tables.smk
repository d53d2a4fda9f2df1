# Every figure of the study: long tables, and wide views for people.
for PLAN in PLANS:

    rule:
        name:
            rule_name("tables", PLAN)
        input:
            study_inputs(PLAN, TABULATED),
            published=published_figures(PLAN),
            sources=sources("tables"),
            lock=LOCK,
        output:
            runs=f"{study_path(PLAN)}/runs.csv",
            about=f"{study_path(PLAN)}/study.json",
            whole=touch(whole_tables(PLAN)),
            long=[
                report(
                    f"{study_path(PLAN)}/tables/{name}",
                    caption="../report/long_table.rst",
                    category="Tables",
                    subcategory=report_subcategory(PLAN),
                    labels={"table": name, "form": "every figure"},
                )
                for name in LONG
            ],
            wide=[
                report(
                    f"{study_path(PLAN)}/tables/{name}.csv",
                    caption=f"../report/{name}.rst",
                    category="Tables",
                    subcategory=report_subcategory(PLAN),
                    labels={"table": name.replace("_", " "), "form": "view"},
                )
                for name in PLAN.view_names()
            ],
            prose=expand(
                "{folder}/tables/{name}.{form}",
                folder=study_path(PLAN),
                name=PLAN.view_names(),
                form=FORMS[1:],
            ),
        log:
            f"results/logs/tables/{PLAN.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(PLAN),
            folder=study_folder,
            plan=study_identity(PLAN),
            published=published_option,
        shell:
            "python -m qatlab tables --config {params.config} --input results=results {params.published} --output {params.folder} --log {log}"
