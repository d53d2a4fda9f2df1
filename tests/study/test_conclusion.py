"""The conclusion on the terminal: wrapped at its width, with names whole, and the path of the page last."""

import pytest
from pydantic import ValidationError

from qatlab.artifact import write_json
from qatlab.study.record import CONCLUSION_FILE, PAGE, Conclusion, read_conclusion, terminal_lines

SENTENCES = (
    "Storing embeddings of `baseline` as binary (48 of 1,536 bytes per document) costs 0.0432 nDCG@10 (95 % interval 0.0328 to 0.0539).",
    "No recipe is separable from `baseline:int8` at binary.",
    "Ship int8 embeddings of `baseline` as `torch_fp32`.",
)


def write(folder, **values):
    conclusion = Conclusion(
        metric="nDCG@10", budget=0.01, reference="float32", reference_value=0.8, sentences=SENTENCES, **values
    )
    write_json(folder / CONCLUSION_FILE, conclusion.model_dump(mode="json"))
    return conclusion


def test_it_is_read_as_it_was_written(tmp_path):
    conclusion = write(tmp_path, undecided="Whether it is enough.")
    assert read_conclusion(tmp_path) == conclusion
    assert conclusion.offer("balanced") is None
    write_json(tmp_path / CONCLUSION_FILE, {**conclusion.model_dump(mode="json"), "version": 2})
    with pytest.raises(ValidationError):
        read_conclusion(tmp_path)


@pytest.mark.parametrize("width", [20, 40, 80, 300])
def test_lines_fit_the_terminal_and_keep_every_word(tmp_path, width):
    write(tmp_path, undecided="Results are missing.")
    first, *lines = terminal_lines(tmp_path, width)
    assert first == f"{tmp_path.name}:"
    *wrapped, path = lines
    longest = max(len(word) for sentence in SENTENCES for word in sentence.split())
    assert all(len(line) <= max(min(width, 110), longest + 4) for line in wrapped)
    assert " ".join(" ".join(wrapped).split()) == " ".join([*SENTENCES, "Results are missing."])
    assert path == f"  {tmp_path}/tables/recommendation.md"
    (tmp_path / PAGE).touch()
    assert terminal_lines(tmp_path, width)[-1] == f"  {tmp_path}/index.html"
