# The study's models to the Hugging Face hub: `snakemake push --config study=NAME push=OWNER`, and never otherwise.
# The token is HF_TOKEN of the environment: parameters and logs would keep it.
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
        shell:
            "python -m qatlab push --models {input.models} --study {params.study} --owner {params.owner} {params.public}"
            " --output {output} --log {log}"
