"""Published studies at full scale, from the hub to scores: miniatures of its models and data under their true ids, on loopback."""

import json

import pandas as pd
import pytest

import miniatures
from conftest import PROJECT
from hub_server import Hub, card, nano, serve
from hub_stages import forked_stages
from qatlab.fork_server import PRELOADED, PRELOADED_WITH_TORCH
from qatlab.plan.plan import load_study

pytestmark = pytest.mark.slow(77)

SENTENCES = [f"sentence number {i} tells of {word}" for i in range(8) for word in ("rain", "snow", "wind", "fog")]
# What makes a study end in seconds: few rows and steps, one method and seed. Everything else is as the study has it.
SHORT = ["trainer.max_steps=2", "trainer.batch_size=4", "study.matrix.seed=[0]"]
STUDIES = {
    "pr3655_gooaq": [
        "study.matrix.method=[pr3655_staged_warmup]",
        "study.matrix.data.rows=[24]",
        "study.matrix.trainer.batch_size=[4]",
        "task.nano_msmarco.revision=main",
        "task.nano_nq.revision=main",
        "trainer.max_steps=2",
    ],
    "embeddinggemma_int8": [
        *SHORT,
        "study.matrix.method=[baseline:int8]",
        "data.rows=20",
        "data.split='train[12:]'",
        "task.miriad_withheld.split='train[:12]'",
        "texts.imdb.rows=10",
        "trainer.warmup_steps=1",
    ],
    "weight_schemes_memory": [
        *SHORT[:2],
        "study.exclude=[]",
        "study.matrix.method=[lora_256:int8]",
        "study.matrix.model=[gemma3_270m_it,gemma3_4b_it]",
        "model.max_seq_length=64",
        "data.rows=20",
        "data.split='train[12:]'",
    ],
    "translation_qat_ptq": [
        *SHORT,
        "study.matrix.method=[baseline:int4_g128]",
        "data.rows=24",
        "predict.max_new_tokens=8",
    ],
    "int8_overhead": [
        *SHORT[1:],
        "study.matrix.method=[baseline:int6_percentile]",
        "study.matrix.trainer=[equal_steps]",
        "trainer.max_steps=2",
        "trainer.gradient_accumulation_steps=1",
        "model.decoder.num_hidden_layers=1",
        "model.max_seq_length=64",
        "data.rows=20",
        "data.split='train[12:]'",
        "task.fineweb_first.split='train[:12]'",
    ],
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    models = {
        "microsoft/mpnet-base": miniatures.mpnet(folder / "mpnet", ["sentence", "number", "tells"]),
        "google/embeddinggemma-300m-qat-q8_0-unquantized": miniatures.embedding_gemma(folder / "embedding_gemma"),
        "google/gemma-3-270m": miniatures.gemma3(folder / "gemma3"),
        "unsloth/gemma-3-270m-it": folder / "gemma3",
        "unsloth/gemma-3-4b-it": miniatures.gemma3_with_images(folder / "gemma3_with_images"),
    }
    questions = [f"what is number {i}?" for i in range(len(SENTENCES))]
    tables = {
        "sentence-transformers/gooaq": ("pair", "train", {"question": questions, "answer": SENTENCES}),
        "tomaarsen/miriad-4.4M-split": ("default", "train", {"question": questions, "passage_text": SENTENCES}),
        "stanfordnlp/imdb": ("plain_text", "train", {"text": SENTENCES, "label": [0] * len(SENTENCES)}),
        "HuggingFaceFW/fineweb": ("sample-10BT", "train", {"text": [text * 8 for text in SENTENCES]}),
        "Salesforce/wikitext": ("wikitext-2-raw-v1", "test", {"text": ["", *SENTENCES]}),
        "Helsinki-NLP/opus-100": ("en-fr", "train", {"translation": [{"en": t, "fr": t[::-1]} for t in SENTENCES]}),
        "google/wmt24pp": (
            "en-fr_FR", "train", {"source": SENTENCES, "target": SENTENCES, "is_bad_source": [True] + [False] * 31},
        ),
    }  # fmt: skip
    datasets = {}
    for name, (subset, split, columns) in tables.items():
        at = folder / name.replace("/", "+")
        (at / subset).mkdir(parents=True)
        pd.DataFrame(columns).to_parquet(at / subset / f"{split}-00000-of-00001.parquet", index=False)
        (at / "README.md").write_text(card(**{subset: (split, f"{subset}/{split}-*")}))
        datasets[name] = at
    for name in ("NanoMSMARCO", "NanoNQ"):
        datasets[f"zeta-alpha-ai/{name}"] = nano(folder / name, SENTENCES)
    with serve(Hub(models=models, datasets=datasets)) as served:
        yield served


@pytest.fixture(scope="module")
def stages(hub, tmp_path_factory):
    with forked_stages(hub.address, tmp_path_factory.mktemp("home"), *PRELOADED, *PRELOADED_WITH_TORCH) as run:
        yield run


@pytest.fixture
def run(stages, tmp_path):
    """Return a function that runs every stage of a plan by its command, all in one process, and returns that process."""

    def every_stage(plan):
        commands = []
        for path, artifact in plan.artifacts.items():
            config = tmp_path / "configs" / f"{path.replace('/', '-')}.json"
            config.parent.mkdir(exist_ok=True)
            config.write_text(json.dumps(artifact.description))
            given = [
                part for role, path in artifact.inputs.items() for part in ("--input", f"{role}={tmp_path / path}")
            ]
            commands.append([artifact.kind, "--config", str(config), *given, "--output", str(tmp_path / path)])
        return stages(*commands)

    return every_stage


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_at_full_scale_runs_on_what_the_hub_has(run, tmp_path, study):
    full, plan = load_study(PROJECT / "conf", study), load_study(PROJECT / "conf", study, overrides=STUDIES[study])
    assert _on_hub(plan) == _on_hub(full)
    result = run(plan)
    assert result.returncode == 0, result.stderr[-3000:]
    for path, artifact in plan.artifacts.items():
        if artifact.kind.startswith("score"):
            assert len(json.loads((tmp_path / path / "scores.json").read_text())["scores"]) >= 1
        if artifact.kind.startswith("train"):
            assert len(pd.read_csv(tmp_path / path / "log.csv")) == 2


def _on_hub(plan):
    return {(a.kind, a.config.name) for a in plan.artifacts.values() if a.origin == "hub"}


def test_the_studies_are_all_there():
    published = {path.stem for path in (PROJECT / "results" / "published").glob("*.csv")}
    assert published == set(STUDIES)
