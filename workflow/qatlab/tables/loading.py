"""Python code that loads a deployed model, and that quantizes its embeddings as one output of a study stores them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig, IndexConfig
from qatlab.config.precision import RotationConfig
from qatlab.deployments.deployment import DEPLOYMENTS, Deployment
from qatlab.deployments.onnx import ONNX_FILE, OUTPUT, OnnxDeployment
from qatlab.deployments.torch import TorchDeployment
from qatlab.evaluation.outputs import OutputColumns
from qatlab.job import JobDescription
from qatlab.models.settings import SIMILARITY_FILE, prompt_for
from qatlab.quantization.precisions import COARSE, QUANTILE, RANGED
from qatlab.quantization.ranges import RANGES
from qatlab.study.record import Evaluation, RunRecord, StudyRecord
from qatlab.tables.names import TEXT

ROOT = "results"  # paths in the code are relative to the folder that contains it
RANGE_CLASSES = {"minmax": "MinMaxRange", "percentile": "PercentileRange", "symmetric": "SymmetricRange"}
UNIT = ["", "def unit(vectors):", "    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)", ""]
ONLY_IN_INDEX = {  # scorings of faiss: the function that searches, and its settings
    "rabitq": ("best_by_rabitq", "seed=0"),
    "bbq": ("best_by_rabitq", "seed=None, query_bits=4"),
    "scalar_quantizer": ("best_by_scalar_quantizer", 'precision="{document}"'),
}
TEXTS = 'documents, queries = ["…", "…"], ["…"]  # texts to store, and texts to search with'
READ_CONFIG = ["from pathlib import Path", "from qatlab.artifact import read_json"]


class Code(NamedTuple):
    """Part of a program: its import statements, which may repeat, and what follows them."""

    imports: list[str]
    lines: list[str]

    def add(self, other: "Code") -> None:
        """Append another part."""
        self.imports.extend(other.imports)
        self.lines.extend(other.lines)


def loading(study: StudyRecord, run: RunRecord, entry: Evaluation, output: OutputColumns, results: Path) -> str:
    """Return code that loads one deployed model, and that quantizes its embeddings as one output stores them.

    Axes and ranges that were fitted on the searched documents are fitted on the documents of the code.

    Args:
        study: the study's record.
        run: the run whose model is loaded.
        entry: an evaluation of the deployment, whose artifacts exist.
        output: the output.
        results: folder of the artifacts.
    """
    deployed = run.deployed[entry.deploy]
    config = DEPLOYMENTS.read(JobDescription.read(results / deployed / "config.json").config)
    if output["doc_precision"] == TEXT:
        prompt = "{source}"
        if study.kinds[entry.task] == "translation":
            prompt = str(JobDescription.read(results / entry.encode / "config.json").config["prompt"])
        code = _causal_lm(config, deployed, prompt)
    else:
        assert study.evaluate is not None
        code, encode_documents = _encoder(config, deployed, results)
        code.add(_on_axes(study.evaluate, entry, output, encode_documents, results))
        code.add(_codes(study.evaluate, output, deployed, is_cosine(study.evaluate, results / entry.encode)))
    return program(code)


def program(code: Code) -> str:
    """Return the text of a program: its import statements, an empty line, and the rest."""
    return "\n".join([*_sorted_imports(code.imports), "", *code.lines])


def _sorted_imports(imports: list[str]) -> list[str]:
    """Return each import once: whole modules first, and one line for the names of a module."""
    whole = sorted({line for line in imports if not line.startswith("from")})
    names: dict[str, set[str]] = {}
    for line in set(imports) - set(whole):
        module, _, name = line.partition(" import ")
        names.setdefault(module, set()).update(name.split(", "))
    return [*whole, *(f"{module} import {', '.join(sorted(names[module]))}" for module in sorted(names))]


def session_lines(folder: str, file: str, note: str = "", options: str = "") -> list[str]:
    """Return lines that load a tokenizer and an ONNX file; `names` are then the inputs of the file.

    Args:
        folder: Python expression for the folder of the tokenizer.
        file: Python expression for the path of the file.
        note: comment behind the first line.
        options: Python expression for the options of ONNX Runtime's session, followed by a comma and a space.
    """
    return [
        f"tokenizer = AutoTokenizer.from_pretrained({folder}){note}",
        f'session = onnxruntime.InferenceSession({file}, {options}providers=["CPUExecutionProvider"])',
        "names = {entry.name for entry in session.get_inputs()}",
    ]


def _encoder(config: Deployment, deployed: str, results: Path) -> tuple[Code, Callable[[str], str]]:
    """Return code whose `document_vectors` and `query_vectors` are float embeddings of documents and queries.

    The function that is returned beside it makes, of an expression for texts, the expression for their embeddings as documents.
    """
    folder = f"{ROOT}/{deployed}/model"
    if isinstance(config, TorchDeployment) and config.weights is None:
        lines = [
            TEXTS,
            f'model = SentenceTransformer("{folder}", model_kwargs={{"dtype": "{config.dtype}"}})',
            "document_vectors, query_vectors = model.encode_document(documents), model.encode_query(queries)",
        ]
        code = Code(["from sentence_transformers import SentenceTransformer"], lines)
        return code, lambda texts: f"model.encode_document({texts})"
    query, document = (prompt_for(results / deployed / "model", table) for table in ("queries", "documents"))
    if isinstance(config, OnnxDeployment):
        vectors = f"document_vectors, query_vectors = encode(documents, {document!r}), encode(queries, {query!r})"
        code = Code(
            ["import onnxruntime", "from transformers import AutoTokenizer"],
            [TEXTS, *_onnx_lines(config, folder, results / deployed / "model"), "", vectors],
        )
        return code, lambda texts: f"encode({texts}, {document!r})"
    vectors = f"document_vectors, query_vectors = encoder.encode(documents, 32, {document!r}), encoder.encode(queries, 32, {query!r})"
    code = Code(
        ["from qatlab.deployments.deployment import DEPLOYMENTS", *READ_CONFIG],
        [TEXTS, *_config_lines(deployed), 'encoder = deployment.encoder(folder / "model", threads=None)', vectors],
    )
    return code, lambda texts: f"encoder.encode({texts}, 32, {document!r})"


def _onnx_lines(config: OnnxDeployment, folder: str, model: Path) -> list[str]:
    """Return lines that define `encode`, with onnxruntime and a tokenizer alone."""
    from qatlab.deployments.backends.onnx_runtime import TokenBatches  # which imports ONNX Runtime

    limit = TokenBatches(model).max_tokens
    exact = [
        "options = onnxruntime.SessionOptions()",
        'options.add_session_config_entry("session.x64quantprecision", "1")  # as it was evaluated',
    ]
    options = "options, " if config.exact_products else ""
    return [
        *(exact if options else []),
        *session_lines(f'"{folder}"', f'"{folder}/{ONNX_FILE}"', options=options),
        "",
        "def encode(texts, prompt):",
        "    prompted = [prompt + text for text in texts]",
        f'    tokens = tokenizer(prompted, padding=True, truncation=True, max_length={limit}, return_tensors="np")',
        "    inputs = {key: values for key, values in tokens.items() if key in names}",
        f'    return session.run(["{OUTPUT}"], inputs)[0]',
    ]


def _config_lines(deployed: str) -> list[str]:
    return [
        f'folder = Path("{ROOT}/{deployed}")',
        'deployment = DEPLOYMENTS.read(read_json(folder / "config.json")["config"])',
    ]


def _causal_lm(config: Deployment, deployed: str, prompt: str) -> Code:
    """Return code that loads a causal language model and continues a text."""
    code = Code(["from transformers import AutoTokenizer"], [])
    if isinstance(config, TorchDeployment) and config.weights is None:
        code.imports.append("from transformers import AutoModelForCausalLM")
        code.lines.extend(
            [
                f'folder = "{ROOT}/{deployed}/model"',
                f'model = AutoModelForCausalLM.from_pretrained(folder, dtype="{config.dtype}")',
                "tokenizer = AutoTokenizer.from_pretrained(folder)",
            ]
        )
    else:
        code.imports.extend(
            [
                "from qatlab.deployments.deployment import DEPLOYMENTS",
                "from qatlab.families.causal_lm.deploy import load_deployed",
                *READ_CONFIG,
            ]
        )
        code.lines.extend(
            [
                *_config_lines(deployed),
                'model = load_deployed(folder / "model", deployment, "cpu")',
                'tokenizer = AutoTokenizer.from_pretrained(folder / "model")',
            ]
        )
    code.lines.extend(
        [
            "begins = tokenizer.bos_token or tokenizer.eos_token  # the token before each text in training",
            f"text = {prompt.replace('{source}', '…')!r}",
            'tokens = tokenizer(begins + text, add_special_tokens=False, return_tensors="pt").to(model.device)',
            'output = model.generate(tokens["input_ids"], max_new_tokens=64, do_sample=False)',
            'print(tokenizer.decode(output[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    )
    return code


def _on_axes(
    config: EvaluateConfig, entry: Evaluation, output: OutputColumns, encode: Callable[[str], str], results: Path
) -> Code:
    """Return code that places both embeddings on the axes of the output, and `fitted_on` where training documents are needed."""
    code, sides = Code([], []), ["document_vectors", "query_vectors"]
    rotation = next(axes for axes in (*config.rotations, *config.bit_axes) if axes.label == output["rotation"])
    unit = is_cosine(config, results / entry.encode)
    if unit:
        code.add(Code(["import numpy as np"], UNIT))
    if output["ranges"] == "training" or rotation.fitted_on == "training":
        assert entry.training is not None
        data = JobDescription.read(results / entry.training / "config.json").inputs["data"]
        table = f'pq.read_table("{ROOT}/{data}/train.parquet")'
        texts = f"{table}.column(1).slice(0, {config.range_rows}).to_pylist()"
        code.add(Code(["import pyarrow.parquet as pq"], [f"fitted_on = {encode(texts)}"]))
        sides.append("fitted_on")
    kept = f"[:, :{output['dimensions']}]" if output["dimensions"] else ""
    if kept or unit:
        code.lines.append(_assigned(sides, "unit({}" + kept + ")" if unit else "{}" + kept))
    if not rotation.plain:
        imported = "from qatlab.quantization.rotations import fit_rotation"
        code.add(Code([imported], [f"axes = {_fit(rotation)}  # keep them for later texts: axes.save(path)"]))
        code.lines.append(_assigned(sides, "unit(axes({}))" if unit else "axes({})"))
    return code


def is_cosine(config: EvaluateConfig, encoding: Path) -> bool:
    """Return whether embeddings of an encoding are compared by cosine, for which the code gives them unit length."""
    named = config.similarity if config.similarity != "model" else read_json(encoding / SIMILARITY_FILE)["similarity"]
    return bool(named == "cosine")


def _assigned(names: list[str], pattern: str) -> str:
    return f"{', '.join(names)} = {', '.join(pattern.replace('{}', name) for name in names)}"


def _fit(rotation: RotationConfig) -> str:
    """Return the expression that fits a rotation."""
    source = "fitted_on" if rotation.fitted_on == "training" else "document_vectors"
    bits = rotation.bits or (f"round({rotation.factor:g} * document_vectors.shape[1])" if rotation.factor else None)
    options = [
        *([f"bits={bits}"] if bits else []),
        *([f'center="{rotation.center}"'] if rotation.center else []),
        *([f"seed={rotation.seed}"] if rotation.kind not in ("none", "pca") else []),
    ]
    return f"fit_rotation({', '.join([repr(rotation.kind).replace(chr(39), chr(34)), source, *options])})"


def _codes(config: EvaluateConfig, output: OutputColumns, deployed: str, unit: bool) -> Code:
    """Return code that quantizes embeddings on their axes, and that searches them if an index of faiss holds them."""
    query, document, scoring = output["query_precision"], output["doc_precision"], output["scoring"]
    copies = [step.partition(" of ")[0] for step in output["rescoring"].split(", ") if step != "none"]
    sides = [] if scoring in ONLY_IN_INDEX else [document, query]
    code = Code([], [])
    for precision in dict.fromkeys([*sides, *copies]):
        if precision in RANGED:
            code.add(_range(config, precision, output["ranges"], deployed))
    if sides:
        code.add(_quantized("codes", "document_vectors", document))
        code.add(_quantized("query_codes", "query_vectors", query))
    index = next(index for index in config.index if index.label == output["index"])
    if scoring in ONLY_IN_INDEX:
        function, settings = ONLY_IN_INDEX[scoring]
        code.add(_searched(function, "query_vectors", "document_vectors", settings.format(document=document)))
    elif index.kind != "flat":
        code.add(_near(index, output, unit))
    for precision in copies:  # with which float32 queries compare the best documents again
        code.add(_quantized(f"{precision}_copies", "document_vectors", precision))
    return code


def _quantized(name: str, vectors: str, precision: str) -> Code:
    if precision == "float32":
        return Code([], [f"{name} = {vectors}"])
    line = f'{name} = quantize_embeddings({vectors}, "{precision}"{_ranges_argument(precision)})'
    return Code(["from qatlab.quantization import quantize_embeddings"], [line])


def _ranges_argument(precision: str) -> str:
    return f", ranges_{precision}" if precision in RANGED else ""


def _range(config: EvaluateConfig, precision: str, fitted: str, deployed: str) -> Code:
    name, source = f"ranges_{precision}", "fitted_on" if fitted == "training" else "document_vectors"
    if fitted == "model":
        path = f"{ROOT}/{deployed}/model/{RANGES}/{precision}.npz"
        loaded = f'{name} = Range.load(Path("{path}"))'
        return Code(["from pathlib import Path", "from qatlab.quantization import Range"], [loaded])
    if precision not in QUANTILE and config.range_kind == "fixed":
        return Code(["from qatlab.quantization import FixedRange"], [f"{name} = FixedRange({config.range_limit:g})"])
    kind = "QuantileRange" if precision in QUANTILE else RANGE_CLASSES[config.range_kind]
    line = f"{name} = {kind}().fit({source})  # keep it for later texts: {name}.save(path)"
    return Code([f"from qatlab.quantization import {kind}"], [line])


def _near(index: IndexConfig, output: OutputColumns, unit: bool) -> Code:
    """Return code that searches codes with a graph or inverted lists."""
    settings = ", ".join(f"{key}={value!r}" for key, value in index.model_dump(exclude_defaults=True).items())
    code = Code(["from qatlab.config.evaluate import IndexConfig"], [f"index = IndexConfig({settings})"])
    if output["scoring"] == "hamming":
        call = "best_near_bits(query_codes.view(np.uint8), codes.view(np.uint8), 10, index)"
        code.add(
            Code(["import numpy as np", "from qatlab.evaluation.search import best_near_bits"], [f"best = {call}"])
        )
        return code
    for codes, values, precision in (
        ("codes", "values", output["doc_precision"]), ("query_codes", "query_values", output["query_precision"]),
    ):  # fmt: skip
        code.add(_decoded(codes, values, precision, unit))
    code.add(_searched("best_near_values", "query_values", "values", "config=index"))
    return code


def _decoded(codes: str, values: str, precision: str, unit: bool) -> Code:
    if precision == "float32":
        return Code([], [f"{values} = {codes}"])
    arguments = f'{codes}, "{precision}"{_ranges_argument(precision)}, dim=document_vectors.shape[1]'
    decoded = f"dequantize_embeddings({arguments})"
    line = f"{values} = unit({decoded})" if unit and precision in COARSE else f"{values} = {decoded}"
    return Code(["from qatlab.quantization import dequantize_embeddings"], [line])


def _searched(function: str, queries: str, values: str, setting: str) -> Code:
    """Return code whose `best` are the positions of the ten best documents of each query."""
    blocks = f"lambda first, last: {values}[first:last], len({values})"
    line = f"best = {function}({queries}, {blocks}, depth=10, {setting})"
    return Code([f"from qatlab.evaluation.search import {function}"], [line])
