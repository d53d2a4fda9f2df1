# Tables, plots, page and models of each study, and the page of all studies.


# All results of a study: long tables, and wide tables for people.
for STUDY in STUDIES:

    rule:
        name:
            rule_name("tables", STUDY)
        input:
            study_inputs(STUDY, TABULATED),
            published=published_results(STUDY),
        output:
            runs=f"{study_path(STUDY)}/runs.csv",
            about=f"{study_path(STUDY)}/study.json",
            conclusion=f"{study_path(STUDY)}/conclusion.json",
            complete=touch(completeness_mark(STUDY)),
            long=[
                report(
                    f"{study_path(STUDY)}/tables/{name}",
                    caption="../report/long_table.rst",
                    category="Tables",
                    subcategory=report_subcategory(STUDY),
                    labels={"table": name, "form": "all results"},
                )
                for name in LONG
            ],
            wide=[
                report(
                    f"{study_path(STUDY)}/tables/{name}.csv",
                    caption=caption_of("table", name),
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
            code=code("tables", STUDY.modules["tables"]),
            folder=study_folder,
            results=results_folder,
            plan=STUDY.identity,
            published=published_option,
        message:
            "Write tables"
        shell:
            "python -m qatlab tables --config {params.config} --input results={params.results} {params.published} --output {params.folder} --log {log}"


# Plots of a study.
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
                    caption=caption_of("plot", name),
                    category="Plots",
                    subcategory=report_subcategory(STUDY),
                    labels={"plot": STUDY.plots[name]},
                )
                for name in STUDY.plots
            ],
            png=expand(
                "{folder}/plots/{name}.png",
                folder=study_path(STUDY),
                name=list(STUDY.plots),
            ),
        log:
            f"results/logs/plots/{STUDY.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(STUDY),
            code=code("plots", STUDY.modules["plots"]),
            folder=study_folder,
            results=results_folder,
            plan=STUDY.identity,
        message:
            "Draw plots"
        shell:
            "python -m qatlab plots --config {params.config} --input results={params.results} --input tables={params.folder}/tables"
            " --output {params.folder} --log {log}"


# One page with the answer, plots and tables of a study. While the study runs, the main process writes it (see common.smk).
for STUDY in STUDIES:

    rule:
        name:
            rule_name("page", STUDY)
        input:
            study_inputs(STUDY, ["train"]),
            study_tables(STUDY, ["csv"]),
            study_plots(STUDY),
        output:
            study_page(STUDY),
        log:
            f"results/logs/page/{STUDY.study}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=study_description(STUDY),
            code=code("page", STUDY.modules["page"]),
            folder=study_folder,
            results=results_folder,
            plan=STUDY.identity,
            command=STUDY.command,
        message:
            "Write the page"
        shell:
            "python -m qatlab page --config {params.config} --input results={params.results} --input study={params.folder}"
            " --output {params.folder} --log {log}"


# Scores in mteb's format, for the tasks of a study that mteb has.
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
            message:
                "Write results in mteb's format"
            shell:
                "python -m qatlab mteb_results --config {params.config} --input results={params.results} --output {params.folder} --log {log}"


# One folder per trained model, with its ONNX files and a model card that contains the results of the study.
for STUDY in STUDIES:
    if STUDY.trained:

        rule:
            name:
                rule_name("models", STUDY)
            input:
                study_inputs(STUDY, ["model", "data", "train", "deploy"]),
                tables=study_tables(STUDY, ["csv", "md"]),
            output:
                directory(f"{study_path(STUDY)}/models"),
            log:
                f"results/logs/models/{STUDY.study}.log",
            conda:
                "../../envs/qatlab.yaml"
            params:
                config=study_description(STUDY),
                code=code("models"),
                folder=study_folder,
                results=results_folder,
                plan=STUDY.identity,
            message:
                "Gather trained models and their cards"
            shell:
                "python -m qatlab models --config {params.config} --input results={params.results} --input tables={params.folder}/tables"
                " --output {params.folder} --log {log}"


# One page that lists all studies with tables.
rule index:
    input:
        [file for study in STUDIES for file in study_summary(study)],
        [table for study in STUDIES for table in listed_tables(study)],
        [page for study in STUDIES for page in study_page(study)],
    output:
        "results/studies/index.html",
    log:
        "results/logs/index.log",
    localrule: True
    conda:
        "../../envs/qatlab.yaml"
    params:
        config=study_description(STUDIES[0]),
        code=code("index"),
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "List all studies"
    shell:
        "python -m qatlab index --config {params.config} --input studies={params.folder} --output {params.folder} --log {log}"


# Upload the models of a study to the Hugging Face hub; only `snakemake push --config study=NAME push=OWNER` runs this rule.
# The token comes from the environment variable HF_TOKEN, because parameters and logs would keep it.
if len(STUDIES) == 1:

    rule push:
        input:
            models=models_to_push,
        output:
            f"{study_path(STUDIES[0])}/pushed.json",
        log:
            f"results/logs/push/{STUDIES[0].study}.log",
        localrule: True
        conda:
            "../../envs/qatlab.yaml"
        params:
            study=STUDIES[0].study,
            owner=shlex.quote(PUSH_TO),
            public="--public" if PUSH_PUBLIC else "",
        message:
            "Upload models to the hub"
        shell:
            "python -m qatlab push --models {input.models} --study {params.study} --owner {params.owner} {params.public}"
            " --output {output} --log {log}"
