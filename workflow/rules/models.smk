# Each trained model in a folder of its own, with its ONNX files and a card that has the study's figures.
for STUDY in STUDIES:
    if STUDY.trained:

        rule:
            name:
                rule_name("models", STUDY)
            input:
                study_inputs(STUDY, ["model", "data", *TRAININGS, *DEPLOYMENTS]),
                tables=study_tables(STUDY),
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
            shell:
                "python -m qatlab models --config {params.config} --input results={params.results} --input tables={params.folder}/tables"
                " --output {params.folder} --log {log}"
