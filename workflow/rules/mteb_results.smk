# Scores in mteb's own format, where the study has tasks that mteb knows.
for PLAN in PLANS:
    if PLAN.has_mteb_results():

        rule:
            name:
                rule_name("mteb_results", PLAN)
            input:
                study_inputs(PLAN, ["task", "deploy", "encode", "score"]),
                sources=sources("mteb_results"),
                lock=LOCK,
            output:
                directory(f"{study_path(PLAN)}/mteb"),
            log:
                f"results/logs/mteb_results/{PLAN.study}.log",
            conda:
                "../../envs/qatlab.yaml"
            params:
                config=study_description(PLAN),
                folder=study_folder,
                plan=study_identity(PLAN),
            shell:
                "python -m qatlab mteb_results --config {params.config} --input results=results --output {params.folder} --log {log}"
