"""Command score: answer at which precisions a model's embeddings of given documents can be stored, without a study's file and training.

It composes the study conf/study/score.yaml for the model and the documents, and runs it in the current folder.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from qatlab.commands.init import project
from qatlab.errors import UserError
from qatlab.registry import LONGEST_NAME, is_hub_id

COMPOSED = "score_"  # start of the names of the studies that this command composes
STUDY = "score"  # the study's file in conf/study, whose settings they share
PRECISIONS = ("float32", "int8", "int2_quantile", "binary")
SHARES = (2, 4)  # dimensions are halved and quartered
WHOLE_BYTES = 8  # kept dimensions are a multiple of it, so that bits of every precision fill bytes
DRAWN = 1000  # documents that are queries where none are given
VECTORS = (".npy", ".parquet")  # suffixes of files of embeddings
LAYOUT = "a folder in BEIR's layout has corpus.jsonl, and with judgements queries.jsonl and qrels/SPLIT.tsv"


class Task(NamedTuple):
    """Task that the documents are.

    Attributes:
        name: name in tables.
        fields: values of the task's configuration by key.
        described: what is measured and on which queries.
    """

    name: str
    fields: dict[str, str | int]
    described: str


def main(arguments: list[str]) -> int:
    """Compose the study, run it with Snakemake, print its scores, and return the exit code.

    Raises:
        UserError: for a model, documents, queries or judgements that do not exist or are not valid, before anything is written.
    """
    options = _options(arguments)
    if importlib.util.find_spec("snakemake") is None:
        raise UserError('qatlab score needs the workflow: pip install "qatlab[workflow]"')
    from qatlab.plan.plan import load_study

    workflow = project()
    overrides = study_overrides(options)
    plan = load_study(workflow / "conf", STUDY, overrides=overrides)  # raises the mistakes that can be known
    print(plan.title)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow / "Snakefile"), "--cores", options.cores]
    command += ["--dry-run"] if options.dry_run else []
    command += ["--config", f"study={STUDY}", f"overrides={json.dumps(overrides)}"]
    code = subprocess.run(command, check=False).returncode
    if code == 0 and not options.dry_run:
        folder = Path("results/studies") / plan.study
        print((folder / "tables/against_float.md").read_text(encoding="utf-8"))
        print(f"Tables, plots and the artifact behind each row: {folder}")
    return code


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="qatlab score",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Answer how a model's embeddings of your documents can be stored: in int8, 2 bits, bits, fewer dimensions.\n"
        "Nothing is trained, and no study's file is needed. The results are those of a study, in results/studies/score_NAME of the\n"
        "current folder: scores with intervals, bytes per document, speed of search.",
        epilog="With relevance judgements, each output is scored by them (nDCG@10 and others). Without, it is compared with the\n"
        "float search of the same embeddings: the overlap of the 10 best results, and Kendall's tau of the 100 best. That shows how\n"
        "much storing embeddings in less changes the results, not how good they are. Queries are then the given ones, or documents\n"
        "drawn at random, each of which is left out of its own results.\n\n"
        "examples:\n"
        "  qatlab score sentence-transformers/all-MiniLM-L6-v2 --corpus documents.jsonl\n"
        "  qatlab score models/mine --corpus documents.jsonl --queries queries.jsonl --qrels qrels.tsv --onnx\n"
        "  qatlab score models/mine --corpus beir/scifact\n"
        "  qatlab score intfloat/e5-small-v2 --corpus zeta-alpha-ai/NanoSciFact\n"
        "  qatlab score embeddings/\n\n"
        "Embeddings are arrays (n, dim) of floats, or lists in the column embedding of a Parquet file, which may have ids in _id. Other\n"
        "ids are row numbers from 0; qrels.tsv has the columns query-id, corpus-id and score.\n\n"
        "With --config, `qatlab score` is a stage of a study: qatlab score --config FILE --output FOLDER.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder of a Sentence Transformers model; hub id OWNER/NAME[@REVISION]; or a folder of stored embeddings: corpus.npy or "
        "corpus.parquet, and optionally queries and qrels.tsv",
    )
    parser.add_argument(
        "--corpus",
        metavar="DOCUMENTS",
        help="JSON Lines file with the keys text, and optionally title and _id; a folder in BEIR's layout; or the hub id "
        "OWNER/NAME[@REVISION] of a data set with the subsets corpus, queries and qrels, as NanoBEIR has",
    )
    parser.add_argument(
        "--queries", type=Path, help="JSON Lines file with the keys text and _id (default: the folder's, or drawn)"
    )
    parser.add_argument("--qrels", type=Path, help="tab-separated judgements: query-id, corpus-id, score")
    parser.add_argument(
        "--split", help="split of the judgements of a BEIR folder (default: test) or data set (default: train)"
    )
    parser.add_argument(
        "--queries-drawn",
        type=int,
        default=DRAWN,
        metavar="N",
        help=f"documents to draw as queries (default: {DRAWN:,})",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the draw (default: 0)")
    parser.add_argument("--onnx", action="store_true", help="also score the model's ONNX int8 file")
    parser.add_argument(
        "--max-seq-length", type=int, metavar="N", help="tokens per text (default: the model's own maximum)"
    )
    parser.add_argument(
        "--name", help="NAME of results/studies/score_NAME (default: that of the model and of the documents)"
    )
    parser.add_argument("--cores", default="all", help="number of CPU cores (default: all)")
    parser.add_argument("--overrides", default="", help="further settings of the study, in Hydra's grammar")
    parser.add_argument("--dry-run", "-n", action="store_true", help="show the jobs, and run none")
    return parser.parse_args(arguments)


def study_overrides(options: argparse.Namespace) -> list[str]:
    """Return the overrides that make the study of the command's options, in Hydra's grammar.

    Raises:
        UserError: for a model or documents that do not exist, and options that do not fit together.
    """
    from qatlab.plan.safe_files import split_overrides

    if (folder := _vectors_folder(options)) is not None:
        return [*_vectors_overrides(folder, options), *split_overrides(options.overrides)]
    if options.corpus is None:
        raise UserError(
            "--corpus is missing: name your documents, or in MODEL's place a folder of embeddings with corpus.npy"
        )
    task = _task(options)
    name, revision = _at_revision(options.model)
    dimension, tokens = _size(name, revision)
    short = Path(name).name
    tokens = options.max_seq_length or tokens
    model: dict[str, str | int] = {"name": name, "revision": revision, "max_seq_length": tokens}
    return [
        f"deploy=[torch_fp32{',onnx_int8' * options.onnx}]",
        *_forms(dimension),
        *_settings(options.name or f"{short}_{task.name}", f"{short} on {task.name}, untrained", model, task),
        *split_overrides(options.overrides),
    ]


def _settings(name: str, subject: str, model: dict[str, str | int], task: Task) -> list[str]:
    """Return the overrides for the name and title of the study, its model and its task."""
    settings: dict[str, str | int] = {
        "study.name": (COMPOSED + _word(name).lower())[:LONGEST_NAME],
        "study.title": f"{subject}: {task.described}",
        **{f"model.{key}": value for key, value in model.items()},
        **{f"task.{task.name}.{key}": value for key, value in task.fields.items()},
    }
    return ["task=[]", *(f"{key}={_quoted(value)}" for key, value in settings.items())]


def _vectors_folder(options: argparse.Namespace) -> Path | None:
    """Return the folder of embeddings that the command has in place of a model; None if it names a model."""
    folder = Path(options.model).expanduser()
    return folder if any((folder / f"corpus{suffix}").is_file() for suffix in VECTORS) else None


def _vectors_overrides(folder: Path, options: argparse.Namespace) -> list[str]:
    """Return the overrides of a study of stored embeddings, with the queries and judgements of their folder or of the options."""
    from qatlab.deployments.vectors import read_folder, vector_file

    given = (("--corpus", options.corpus), ("--queries", options.queries), ("--onnx", options.onnx))
    for option, value in (*given, ("--max-seq-length", options.max_seq_length), ("--split", options.split)):
        if value:
            raise UserError(
                f"{option}: '{folder}' is a folder of embeddings, which has the documents and queries and runs no model; leave it out"
            )
    vectors = read_folder(folder)
    corpus = vector_file(folder, "documents")
    assert corpus is not None
    judged = folder / "qrels.tsv"
    qrels = options.qrels or (judged if judged.is_file() else None)
    name = _word(folder.resolve().name)
    task = _files_task(corpus, vector_file(folder, "queries"), qrels, options, len(vectors["documents"]))
    task = task._replace(name=name, fields=task.fields | {"source": "vectors"})
    return [
        "deploy=[]",
        "deploy.vectors.backend=vectors",
        "drift.reference=vectors",
        *_forms(vectors["documents"].shape[1]),
        *_settings(
            options.name or name, f"Stored embeddings of {name}", {"name": str(folder), "kind": "vectors"}, task
        ),
    ]


def _forms(dimension: int | None) -> list[str]:
    """Return overrides for the precisions and dimensions that fit embeddings of a number of dimensions, which may be unknown."""
    from qatlab.quantization.precisions import check_dimension

    if dimension is None:
        print("the model's files do not tell its number of dimensions; embeddings are scored in all of them only")
        return []
    kept = [dimension // share // WHOLE_BYTES * WHOLE_BYTES for share in SHARES]
    fitting = []
    for precision in PRECISIONS:
        try:
            check_dimension(precision, dimension)
        except ValueError as error:
            print(f"{precision} is left out: {error}")
        else:
            fitting.append(precision)
    dimensions = ["null", *(str(count) for count in dict.fromkeys(kept) if count)]
    return [f"evaluate.dimensions=[{','.join(dimensions)}]", f"evaluate.precisions=[{','.join(fitting)}]"]


def _size(name: str, revision: str) -> tuple[int | None, int]:
    """Return the number of dimensions of a model's embeddings, if its files tell it, and its maximum number of tokens per text."""
    from qatlab.config.model import ModelConfig
    from qatlab.models.folders import check_folder, model_source, packaged_folder
    from qatlab.models.settings import check_dense_encoder, embedding_dimension, longest_text

    source = model_source(ModelConfig(name=name, revision=revision))
    folder: Path | None = Path(name).expanduser() if source == "local" else packaged_folder(name)
    if source == "hub":
        from qatlab.hub import download

        folder = download(name, revision)
    assert folder is not None
    check_folder(folder, name)
    check_dense_encoder(folder, name)
    return embedding_dimension(folder), longest_text(folder)


def _task(options: argparse.Namespace) -> Task:
    """Return the task of the documents, queries and judgements that the options name."""
    corpus = Path(options.corpus).expanduser()
    for option, path in (("--queries", options.queries), ("--qrels", options.qrels)):
        if path is not None and not path.is_file():
            raise UserError(f"{option}: '{path}' does not exist or is not a file")
    if corpus.is_dir():
        return _beir_task(corpus, options)
    if corpus.is_file():
        if options.split:
            raise UserError(
                "--split chooses the judgements of a BEIR folder or data set; for a file, give --queries and --qrels"
            )
        if not corpus.name.lower().endswith((".jsonl", ".jsonl.gz")):
            raise UserError(
                f"--corpus: '{corpus}' is not a JSON Lines file (.jsonl or .jsonl.gz); write one object per line: {{\"text\": …}}"
            )
        return _files_task(corpus, options.queries, options.qrels, options)
    name, revision = _at_revision(options.corpus)
    if not is_hub_id(name) or "/" not in name or corpus.suffix == ".jsonl":
        raise UserError(
            f"--corpus: '{options.corpus}' is neither an existing file or folder nor a hub id OWNER/NAME of a data set"
        )
    if options.queries or options.qrels:
        raise UserError(
            "--corpus is a data set of the hub, which has its own queries and judgements; leave out --queries and --qrels"
        )
    fields: dict[str, str | int] = {"source": "hub", "name": name, "revision": revision}
    return Task(_word(Path(name).name), fields | ({"split": options.split} if options.split else {}), JUDGED)


JUDGED = "what it costs to store its embeddings in less"


def _beir_task(folder: Path, options: argparse.Namespace) -> Task:
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    if not corpus.is_file():
        raise UserError(f"--corpus: '{folder}' has no corpus.jsonl; {LAYOUT}")
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    given = queries if queries.is_file() else None
    if options.queries or options.qrels:
        return _files_task(corpus, options.queries or given, options.qrels, options)
    if not splits:
        if options.split:
            raise UserError(f"--split: '{folder}' has no judgements; {LAYOUT}")
        return _files_task(corpus, given, None, options)
    split = options.split or ("test" if "test" in splits or len(splits) > 1 else splits[0])
    if split not in splits:
        raise UserError(f"--split: '{folder}' has no qrels/{split}.tsv; its splits are {', '.join(splits)}")
    return Task(_named_after(corpus), {"source": "local", "path": str(folder), "split": split}, JUDGED)


def _files_task(
    corpus: Path, queries: Path | None, qrels: Path | None, options: argparse.Namespace, documents: int | None = None
) -> Task:
    """Return the task of files; `documents` is the number of documents, or None for that of the lines of a JSON Lines file."""
    if qrels is not None and queries is None:
        raise UserError("--qrels judges documents for queries; add --queries FILE")
    paths = {"corpus": corpus, "queries": queries, "qrels": qrels}
    fields: dict[str, str | int] = {"source": "documents"}
    fields |= {f"paths.{key}": str(path) for key, path in paths.items() if path is not None}
    name = _named_after(corpus)
    if qrels is not None:
        return Task(name, fields, JUDGED)
    agreement = "agreement with the float search of the same deployment, for lack of judgements, on"
    if queries is not None:
        return Task(name, fields, f"{agreement} the queries of {queries.name}")
    if options.queries_drawn < 1:
        raise UserError(f"--queries-drawn: {options.queries_drawn} documents cannot be drawn; give at least 1")
    fields |= {"queries": options.queries_drawn, "shuffle_seed": options.seed}
    count = min(options.queries_drawn, _line_count(corpus) if documents is None else documents)
    return Task(name, fields, f"{agreement} {count:,} of its documents, drawn as queries with seed {options.seed}")


def _line_count(path: Path) -> int:
    from qatlab.sources.readers import read_lines

    return sum(1 for line in read_lines(path) if line.strip())


def _at_revision(text: str) -> tuple[str, str]:
    """Return name and revision of NAME@REVISION; a path that exists is a name with all its characters."""
    name, at, revision = text.rpartition("@")
    return (name, revision) if at and name and not Path(text).expanduser().exists() else (text, "main")


def _named_after(corpus: Path) -> str:
    """Return the name of a task: the file's without its suffix, or that of the folder which contains a corpus.jsonl."""
    stem = corpus.name.partition(".")[0]
    return _word(corpus.resolve().parent.name if stem == "corpus" else stem)


def _word(text: str) -> str:
    """Return a text as a word that can be a key of a configuration and the name of a folder."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[: LONGEST_NAME // 3]
    return word if word[:1].isalpha() else f"d_{word}".rstrip("_")


def _quoted(value: str | int) -> str:
    """Return a value as Hydra's grammar reads it literally."""
    if isinstance(value, int):
        return str(value)
    # A backslash is itself, except before a quotation mark and thus at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + match[2].replace("'", r"\'"), value)
    return f"'{escaped}'"
