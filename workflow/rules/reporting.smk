# A study's tables, plots and models, and the page of all studies.


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


# The study's figures as pictures.
for STUDY in STUDIES:

    rule:
        name:
            rule_name("plots", STUDY)
        input:
            study_inputs(STUDY, ["train", "drift"]),
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


# Scores in mteb's own format, where the study has tasks that mteb knows.
for STUDY in STUDIES:
    if STUDY.has_mteb_results:

        rule:
            name:
                rule_name("mteb_results", STUDY)
            input:
                study_inputs(STUDY, ["task", "deploy", "encode", "score"]),
            output:
                directory(f"{study_path(STUDY)}/mteb"),
            log:
                f"results/logs/mteb_results/{STUDY.study}.log",
            conda:
                "../../envs/qatlab.yaml"
            params:
                config=study_description(STUDY),
                code=code("mteb_results"),
                folder=study_folder,
                results=results_folder,
                plan=STUDY.identity,
            shell:
                "python -m qatlab mteb_results --config {params.config} --input results={params.results} --output {params.folder} --log {log}"


# Each trained model in a folder of its own, with its ONNX files and a card that has the study's figures.
for STUDY in STUDIES:
    if STUDY.trained:

        rule:
            name:
                rule_name("models", STUDY)
            input:
                study_inputs(STUDY, ["model", "data", "train", "deploy"]),
                tables=study_tables(STUDY),
            output:
                directory(f"{study_path(STUDY)}/models"),
            log:
                f"results/logs/models/{STUDY.study}.log",
            conda:
                "../../envs/qatlab.yaml"
            params:
                config=study_description(STUDY),
                code=code("models", card_modules()),
                folder=study_folder,
                results=results_folder,
                plan=STUDY.identity,
            shell:
                "python -m qatlab models --config {params.config} --input results={params.results} --input tables={params.folder}/tables"
                " --output {params.folder} --log {log}"


# One page of all studies that there are tables of.
rule index:
    input:
        [table for study in STUDIES for table in study_tables(study)],
    output:
        "results/studies/index.md",
    log:
        "results/logs/index.log",
    localrule: True
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=study_description(STUDIES[0]),
        code=code("index"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python -m qatlab index --config {params.config} --input studies={params.folder} --output {params.folder} --log {log}"


# Where jobs have failed, their study's tables and plots show what is there, and the rest as failed or not run.
def outputs_of(jobs):
    """Below results/, also of the jobs of groups."""
    single = [one for job in jobs for one in (job if job.is_group() else [job])]
    return {str(path).removeprefix("results/") for job in single for path in job.output}


def show_what_is_there(plan, unfinished, failed):
    from qatlab.plan.unfinished import missing_artifacts, show

    missing = missing_artifacts(plan, Path("results"), unfinished, failed)
    if f"studies/{plan.study}/runs.csv" not in unfinished or not failed & set(missing):
        return
    # Before they are written: with this output missing, Snakemake makes the tables and what depends on them anew next time.
    Path(whole_tables(plan)).unlink(missing_ok=True)
    asked = {
        "tables": f"studies/{plan.study}/runs.csv",
        "plots": f"studies/{plan.study}/plots/scores.svg",
        "index": "studies/index.md",
    }
    stages = [stage for stage, output in asked.items() if output in unfinished]
    for line in show(plan, Path("results"), missing, stages):
        logger.info(line)


onerror:
    unfinished = outputs_of(workflow.dag.needrun_jobs())
    failed = outputs_of(workflow.scheduler.failed)
    for plan in PLANS:
        show_what_is_there(plan, unfinished, failed)
