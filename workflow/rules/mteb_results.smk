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
