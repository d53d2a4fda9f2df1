"""Command line: `qatlab STAGE …` or `python -m qatlab STAGE …` runs a stage or command, and `qatlab --help` lists them."""

import argparse
import importlib
import os
import shutil
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatlab.artifact import checkpoint_folder, exclusively_locked, scratch_folder, written_aside
from qatlab.bundle import KINDS, add_option, in_use
from qatlab.errors import Stopped, UserError, full, printable, unknown
from qatlab.fork_server import run_in_server
from qatlab.progress import last_lines, mark, output_to, say, unmark

if TYPE_CHECKING:
    from qatlab.job import JobDescription

STAGES = {
    "model": "fetch a base model as a plain Sentence Transformers folder",
    "data": "write training rows as Parquet",
    "task": "write an evaluation task as Parquet",
    "texts": "write a set of texts without judgements as Parquet",
    "train": "train a model",
    "deploy": "build a deployment of a trained model",
    "encode": "run a deployed model over the texts of a task or set: embeddings, translations or probabilities",
    "score": "score embeddings at every output precision, or translations and probabilities",
    "drift": "compare a deployment's embeddings with a reference's",
    "bit_changes": "count the bits in which two models' embeddings differ",
    "engine": "index and search embeddings with a vector search engine",
    "tables": "gather a study's metrics in tables",
    "plots": "draw a study's tables",
    "mteb_results": "write scores in mteb's own format",
    "models": "gather a study's trained models, each with its ONNX files and its card",
    "page": "write a study's page: answer, recommendation, plots and tables",
    "index": "list all studies with their answers",
}
# Stages that write into the folder of a study or of all studies, which they share.
STUDY_STAGES = ("tables", "plots", "mteb_results", "models", "page", "index")
COMMANDS = {  # by name: the function that runs it, and what it does
    "init": ("qatlab.commands.init:main", "write the workflow and its configuration into a folder"),
    "score": (
        "qatlab.commands.score:main",
        "without --config: answer at which precisions a model's embeddings of your documents can be stored",
    ),
    "plan": ("qatlab.commands.plan:main", "show a study's runs and artifacts, or write their configurations"),
    "schema": ("qatlab.commands.plan:print_schema", "print the JSON Schema of the configuration"),
    "schemes": ("qatlab.commands.plan:print_schemes", "list the schemes of weights"),
    "gate": ("qatlab.commands.gate:main", "tell by an exit code whether what is shipped loses too much"),
    "bench": ("qatlab.bench.run:main", "measure time and memory against references"),
    "push": ("qatlab.commands.push:main", "upload a study's models to the hub"),
    "audit": (
        "qatlab.commands.audit:main",
        "list known vulnerabilities of the locked packages, and the decision on each",
    ),
    "bundle": (
        "qatlab.commands.bundle:main",
        "gather all external inputs of a study, for machines without network access",
    ),
    "gc": ("qatlab.commands.gc:main", "list or remove artifacts that no study refers to"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one stage or command and return the exit code; a user's mistake is shown as one line, not a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = arguments[0] if arguments else "--help"
    try:
        if name in ("-h", "--help"):
            print("usage: qatlab STAGE [options]\n")
            for stage, purpose in STAGES.items():
                print(f"  {stage:12} {purpose}")
            for command, (_, purpose) in COMMANDS.items():
                print(f"  {command:12} {purpose}")
            return 0
        if name in COMMANDS and not (name in STAGES and _is_of_a_stage(arguments)):
            module, _, function = COMMANDS[name][0].partition(":")
            code = int(getattr(importlib.import_module(module), function)(arguments[1:]) or 0)
            sys.stdout.flush()
            return code
        if name not in STAGES:
            raise unknown("stage", name, [*STAGES, *COMMANDS])
        result = run_in_server(arguments)
        return _run_stage(name, arguments[1:]) if result is None else result
    except UserError as error:
        print(f"qatlab: {printable(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # What reads the output, such as `head`, has ended. Python would otherwise write the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _is_of_a_stage(arguments: list[str]) -> bool:
    """Return whether arguments are those of a stage, which all have --config, rather than of the command of the same name."""
    return any(argument.partition("=")[0] == "--config" for argument in arguments)


def _run_stage(name: str, arguments: list[str]) -> int:
    options = _options(name, arguments)
    from qatlab.job import JobDescription  # which imports pydantic: a job that a server runs does not need it here

    description = JobDescription.read(options.config)
    named = {} if name in STUDY_STAGES else description.inputs
    inputs = _inputs({role: options.results / path for role, path in named.items()}, options.input)
    stage = f"{name} {description.label}"
    node = _node(name, description)
    if node is not None and node.rank > 0 and options.log is not None:
        options.log = options.log.with_name(f"{options.log.stem}.node-{node.rank}{options.log.suffix}")
    marked = name not in STUDY_STAGES and (node is None or node.rank == 0)
    if marked:
        unmark(options.output)
    try:
        with output_to(options.log):
            _make(name, options, description, inputs, node)
    except Stopped as stopped:
        say(f"{stage} {stopped}")
        return 128 + stopped.signal
    except KeyboardInterrupt:
        say(f"{stage} interrupted")
        return 128 + signal.SIGINT
    except Exception as error:
        reason = full(error, options.output) or error
        if marked:
            mark(options.output, name, description.label, reason)
        return _failed(stage, reason, options.log)
    return 0


def _options(name: str, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"qatlab {name}", description=STAGES[name])
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="configuration of the stage, as `qatlab plan --write` writes it",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write; it does not exist until it is complete"
    )
    parser.add_argument("--threads", type=int, default=None, help="number of CPU threads (default: all)")
    parser.add_argument("--log", type=Path, default=None, help="file for the output of libraries")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="ROLE=PATH",
        help="artifact to use as an input instead of the one that --config names; may be repeated",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=None,
        help="folder of the artifacts that --config names (default: the one two above --output)",
    )
    if name in KINDS:
        add_option(parser)
    options = parser.parse_args(arguments)
    if options.results is None:
        options.results = options.output.parent.parent
    if not options.config.is_file():
        raise UserError(f"--config: '{options.config}' does not exist")
    return options


def _node(name: str, description: "JobDescription") -> Any:
    """Return this node of a distributed training, or None for a job that runs in this process."""
    section = description.config["trainer"].get("distributed") if name == "train" else None
    if section is None:
        return None
    from qatlab.config.trainer import DistributedConfig
    from qatlab.training.launch import this_node

    distributed = DistributedConfig.model_validate(section)
    return this_node(distributed.nodes) if distributed.in_all > 1 else None


def _make(
    name: str, options: argparse.Namespace, description: "JobDescription", inputs: dict[str, Path], node: Any
) -> None:
    if node is not None and node.rank > 0:  # Only the processes of the first node write the output.
        _run(name, options, description, inputs, scratch_folder(options.output), node)
        return
    of_study = name in STUDY_STAGES
    stage = f"{name} {description.label}"

    def waiting() -> None:
        say(f"{stage} waits for another process that is building the same output")

    beside = options.output.with_name(f"{options.output.name}.{name}") if of_study else options.output
    with exclusively_locked(beside, waiting), written_aside(options.output, name if of_study else None) as scratch:
        try:
            _run(name, options, description, inputs, scratch, node)
            if not of_study:
                shutil.copyfile(options.config, scratch / "config.json")
        except (UserError, Stopped):
            raise
        except BaseException:
            with suppress(OSError):  # The disk may be full.
                traceback.print_exc()
            raise
    shutil.rmtree(checkpoint_folder(options.output), ignore_errors=True)


def _run(
    name: str,
    options: argparse.Namespace,
    description: "JobDescription",
    inputs: dict[str, Path],
    output: Path,
    node: Any,
) -> None:
    if name in KINDS and (bundle := in_use()) is not None:
        bundle.copy(f"{description.kind}/{description.name}", output)
    elif node is None:
        importlib.import_module(f"qatlab.stages.{name}").run(description, inputs, output, options.threads)
    else:
        importlib.import_module("qatlab.training.launch").launch(
            name, description, inputs, output, options.threads, node
        )


def _failed(stage: str, error: Exception, log: Path | None) -> int:
    """Show the reason of a failure on the terminal, and return the exit code."""
    if isinstance(error, UserError):
        say(f"{stage} failed: {error}" + (f" (log: {log})" if log else ""))
        return 2
    lines = last_lines(log) if log else []
    if lines:
        say(f"{stage} failed; the last lines of {log}:")
        for line in lines:
            say(f"    {line}")
    else:
        say(f"{stage} failed: {type(error).__name__}: {error}")
    return 1


def _inputs(inputs: dict[str, Path], others: list[str]) -> dict[str, Path]:
    """Return the artifacts by role: those of the configuration, replaced by those of --input."""
    for pair in others:
        role, separator, path = pair.partition("=")
        if not separator:
            raise UserError(f"--input takes ROLE=PATH, not '{pair}'")
        inputs[role] = Path(path)
    for role, path_of_role in inputs.items():
        if not path_of_role.exists():
            raise UserError(f"--input {role}: '{path_of_role}' does not exist")
    return inputs


if __name__ == "__main__":
    sys.exit(main())
