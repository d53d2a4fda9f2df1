# Every figure of the study: long tables, and wide views for people.
rule tables:
    input:
        study_inputs(TABULATED),
        published=published_figures(),
        sources=sources("tables"),
        lock=LOCK,
    output:
        runs=f"results/studies/{STUDY}/runs.csv",
        long=[
            report(
                f"results/studies/{STUDY}/tables/{name}",
                caption="../report/long_table.rst",
                category="Tables",
                labels={"table": name, "form": "every figure"},
            )
            for name in LONG
        ],
        wide=[
            report(
                f"results/studies/{STUDY}/tables/{name}.csv",
                caption=f"../report/{name}.rst",
                category="Tables",
                labels={"table": name.replace("_", " "), "form": "view"},
            )
            for name in PLAN.view_names()
        ],
        prose=expand(
            "results/studies/{study}/tables/{name}.{form}",
            study=STUDY,
            name=PLAN.view_names(),
            form=FORMS[1:],
        ),
    log:
        f"results/logs/tables/{STUDY}.log",
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=f"{DESCRIPTIONS}/study/{STUDY}.json",
        folder=study_folder,
        plan=study_identity(),
        published=published_option,
    shell:
        "python -m qatlab tables --config {params.config} --input results=results {params.published} --output {params.folder} --log {log}"
