# Each trained model in a folder of its own, with its ONNX files and a card that has the study's figures.
if study_models():

    rule models:
        input:
            study_inputs(["train", "deploy"]),
            tables=study_tables(),
            sources=sources("models"),
            lock=LOCK,
        output:
            directory(f"results/studies/{STUDY}/models"),
        log:
            f"results/logs/models/{STUDY}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=f"{DESCRIPTIONS}/study/{STUDY}.json",
            folder=study_folder,
            plan=study_identity(),
        shell:
            "python -m qatlab models --config {params.config} --input results=results --input tables={params.folder}/tables"
            " --output {params.folder} --log {log}"
