"""The engine configuration that realizes what a study recommends: the measured mode that stores the same codes and loses nothing."""

from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from qatlab.artifact import read_json
from qatlab.config.evaluate import EvaluateConfig
from qatlab.engines.engine import Engine, Mode, Stored
from qatlab.evaluation.outputs import OutputColumns
from qatlab.quantization.precisions import is_binary
from qatlab.statistics import WORSE, Verdict
from qatlab.study.record import EngineOffer, Evaluation, RunRecord
from qatlab.tables.differences import tested
from qatlab.tables.engines import EXACT, GRIDS, Indexed, engines_of, figures
from qatlab.tables.gathered import Figures, Form, seed_means
from qatlab.tables.loading import Code, is_cosine, program
from qatlab.tables.missing import OK
from qatlab.tables.pareto import runs_of

if TYPE_CHECKING:
    from qatlab.tables.gathered import Gathered

EXACT_SCORING = ("dot", "dequantized", "hamming")  # scorings of what engines store, without a further index
Choice = tuple[str, Mode]  # name of an engine, and one of its modes


class MeasuredEngines:
    """Engines that a study has measured, with the main metric of each query in each mode.

    Args:
        gathered: the results of the study.
    """

    def __init__(self, gathered: "Gathered") -> None:
        self.gathered = gathered
        measured = {name for run in gathered.runs for entry in run.evaluations for name in entry.engines}
        self.engines = {engine.engine: engine for engine in engines_of(gathered.study) if engine.engine in measured}
        self.scores = Figures()
        if self.engines:
            read = (gathered.runs, gathered.results, list(self.engines.values()), gathered.metrics, gathered.missing)
            self.scores = figures(*read, by_task=False)

    def offer(self, form: Form, output: OutputColumns) -> EngineOffer | None:
        """Return the engine and mode that realize a variant, or None if no measured one does.

        A mode realizes it if it stores the same precision, and no significant loss against qatlab's exact search is shown: of the same
        codes, or of the grid's codes where the engine makes its own. Of these, codes of qatlab come before codes of the engine, and then
        the mode with the most queries per second in one thread counts.

        Args:
            form: the variant.
            output: the output in which its embeddings are stored.
        """
        pairs = self._pairs(form, output)
        verdicts = tested(self.scores, list(pairs.values()), self.gathered.lower_is_better)
        kept = {
            choice: verdict
            for choice, verdict in zip(pairs, verdicts, strict=True)
            if verdict is not None and verdict.word != WORSE
        }
        if not kept:
            return None
        speeds = {choice: self._speed(form, *choice) for choice in kept}
        best = max(kept, key=lambda choice: (choice[1].quantizer != "engine", speeds[choice] or 0.0))
        return self._described(form, output, best, kept[best], speeds[best])

    def _pairs(self, form: Form, output: OutputColumns) -> dict[Choice, tuple[Indexed, Indexed]]:
        """Return the modes that store what an output stores, each with the key of its results and of those of an exact search."""
        config = self.gathered.study.evaluate
        stored = _stored(output)
        if stored is None or config is None:
            return {}
        pairs = {}
        for name, engine in self.engines.items():
            for mode in engine.chosen_modes():
                own_grid = mode.quantizer != "qatlab" or stored != "int8" or output["ranges"] == config.ranges[0]
                key = Indexed(form.method, form.varied, form.deploy, "", name, mode.name)
                if mode.stored == stored and mode.rescoring == "none" and own_grid and key in self.scores:
                    exact = GRIDS[stored] if mode.quantizer == "engine" else mode.reference
                    pairs[name, mode] = (key, key._replace(mode=EXACT + exact))
        return pairs

    def _speed(self, form: Form, engine: str, mode: Mode) -> float | None:
        """Return the median queries per second in one thread over tasks and seeds, or None if they are unknown."""
        rows = self.gathered.search
        names = [run.name for run in runs_of(self.gathered.runs, form)]
        chosen = rows["run"].isin(names) & (rows["deploy"] == form.deploy) & (rows["threads"] == 1)
        rows = rows[chosen & (rows["engine"] == engine) & (rows["mode"] == mode.name)]
        speed = rows["queries_per_second"].astype(float).median()
        return None if np.isnan(speed) else float(speed)

    def _described(
        self, form: Form, output: OutputColumns, choice: Choice, verdict: Verdict, speed: float | None
    ) -> EngineOffer:
        engine, mode = self.engines[choice[0]], choice[1]
        entry = next(entry for run in runs_of(self.gathered.runs, form) for entry in self._measured(run, form, engine))
        described = read_json(self.gathered.results / entry.engines[engine.engine] / "engine.json")["modes"]
        key = Indexed(form.method, form.varied, form.deploy, "", engine.engine, mode.name)
        config = self.gathered.study.evaluate
        assert config is not None
        unit = is_cosine(config, self.gathered.results / entry.encode)
        return EngineOffer(
            engine=engine.engine,
            mode=mode.name,
            version=next(row["version"] for row in described if row["mode"] == mode.name),
            value=float(np.mean(list(seed_means(self.scores[key]).values()))),
            difference=verdict.difference,
            low=verdict.low,
            high=verdict.high,
            queries_per_second=speed,
            configuration=configuration(engine, mode),
            search=searching(engine, mode, config, output, unit),
        )

    def _measured(self, run: RunRecord, form: Form, engine: Engine) -> list[Evaluation]:
        """Return the evaluations of a run and a variant's deployment in which an engine has results."""
        entries = [entry for entry in run.evaluations if entry.deploy == form.deploy and engine.engine in entry.engines]
        return [entry for entry in entries if self.gathered.missing.status(entry.engines[engine.engine]) == OK]


def _stored(output: OutputColumns) -> Stored | None:
    """Return what an engine stores for an output, or None for one that no engine stores: other axes, scorings or steps."""
    plain = output["rotation"] == output["rescoring"] == "none" and output["dimensions"] is None
    if not plain or output["index"] != "flat" or output["scoring"] not in EXACT_SCORING:
        return None
    query, document = output["query_precision"], output["doc_precision"]
    if is_binary(document):  # which engines compare with bits only
        return "bits" if is_binary(query) else None
    if document == "int8":  # which engines compare with queries that fit the codes
        return "int8"
    return "float32" if query == document == "float32" else None


def configuration(engine: Engine, mode: Mode) -> str:
    """Return YAML for a study's file that measures one mode of an engine."""
    settings: dict[str, Any] = {"engine": engine.engine, "modes": [mode.name]}
    settings |= engine.model_dump(mode="json", exclude_defaults=True, exclude={"engine", "modes"})
    return yaml.safe_dump({"evaluate": {"engines": [settings]}}, sort_keys=False, default_flow_style=None)


def searching(engine: Engine, mode: Mode, config: EvaluateConfig, output: OutputColumns, unit: bool) -> str | None:
    """Return code that stores and searches embeddings in an engine, after the code of `loading`; None where the mode has no short code.

    Args:
        engine: the engine.
        mode: its mode.
        config: how the study evaluates embeddings.
        output: the output whose code precedes.
        unit: whether embeddings have unit length.
    """
    snippet = engine.snippet(mode, "cosine" if unit else "dot")
    if snippet is None:
        return None
    code = Code(list(snippet.imports), [])
    if mode.quantizer != "qatlab":
        code.lines.append('stored, searched = document_vectors.astype("float32"), query_vectors.astype("float32")')
    elif mode.stored == "int8":
        code.imports.append("from qatlab.quantization.grids import queries_for_codes")
        code.lines.append("stored, searched = codes, queries_for_codes(query_vectors, ranges_int8)")
    else:
        code.imports.append("import numpy as np")
        code.lines.append("stored, searched = codes.view(np.uint8), query_codes.view(np.uint8)")
    code.lines.extend(snippet.lines)
    return program(code)
