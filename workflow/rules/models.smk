# Each trained model in a folder of its own, with its ONNX files and a card that has the study's figures.
for PLAN in PLANS:
    if study_models(PLAN):

        rule:
            name:
                rule_name("models", PLAN)
            input:
                study_inputs(PLAN, ["model", "data", *TRAININGS, *DEPLOYMENTS]),
                tables=study_tables(PLAN),
                sources=sources("models"),
                lock=LOCK,
            output:
                directory(f"{study_path(PLAN)}/models"),
            log:
                f"results/logs/models/{PLAN.study}.log",
            conda:
                "../../envs/qatlab.yaml"
            params:
                config=study_description(PLAN),
                folder=study_folder,
                plan=study_identity(PLAN),
            shell:
                "python -m qatlab models --config {params.config} --input results=results --input tables={params.folder}/tables"
                " --output {params.folder} --log {log}"
