# Scores in mteb's own format, where the study has tasks that mteb knows.
if PLAN.has_mteb_results():

    rule mteb_results:
        input:
            study_inputs(["task", "deploy", "encode", "score"]),
            sources=sources("mteb_results"),
            lock=LOCK,
        output:
            directory(f"results/studies/{STUDY}/mteb"),
        log:
            f"results/logs/mteb_results/{STUDY}.log",
        conda:
            "../../envs/qatlab.yaml"
        params:
            config=f"{DESCRIPTIONS}/study/{STUDY}.json",
            folder=f"results/studies/{STUDY}",
            plan=study_identity(),
        shell:
            "python -m qatlab mteb_results --config {params.config} --input results=results --output {params.folder} --log {log}"
