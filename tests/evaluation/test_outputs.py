"""Outputs: all valid combinations of the configured values."""

import pytest
from pydantic import ValidationError

from qatlab.config.evaluate import EvaluateConfig
from qatlab.evaluation.outputs import TEXT_OUTPUT, has_few_bits, outputs


def names_of(**config):
    return [output.name for output in outputs(EvaluateConfig(metrics=["ndcg@10"], **config))]


def test_the_default_is_three_precisions():
    assert names_of() == ["none/float32/dot", "none/int8/dequantized/corpus", "none/binary/hamming"]


def test_ranges_vary_only_where_there_is_a_range():
    names = names_of(precisions=["float32", "int8"], ranges=["corpus", "per_call"])
    assert names == ["none/float32/dot", "none/int8/dequantized/corpus", "none/int8/dequantized/per_call"]


def test_codes_are_compared_only_with_codes_of_their_kind_and_rabitq_only_reads_bits():
    precisions = ["float32", "int8", "int4", "binary", "float32_x_binary", "float32_x_int8"]
    assert names_of(precisions=precisions, scoring=["codes"]) == ["none/int8/codes/corpus", "none/int4/codes/corpus"]
    assert names_of(precisions=precisions, scoring=["rabitq"]) == ["none/float32_x_binary/rabitq"]
    assert names_of(precisions=precisions, scoring=["bbq"]) == ["none/float32_x_binary/bbq"]


def test_cells_between_quantiles_are_outputs_like_others():
    precisions = ["int2", "int2_quantile", "ternary", "float32_x_ternary"]
    assert names_of(precisions=precisions, scoring=["dequantized", "codes", "sentence_transformers_compat", "mteb_compat"]) == [
        "none/int2/dequantized/corpus", "none/int2/codes/corpus",
        "none/int2_quantile/dequantized/corpus", "none/int2_quantile/codes/corpus",
        "none/ternary/dequantized/corpus", "none/ternary/codes/corpus",
        "none/float32_x_ternary/dequantized/corpus",
    ]  # fmt: skip
    names = names_of(precisions=["binary"], rescoring="ternary", ranges=["corpus", "per_call"])
    assert names == ["none/binary/hamming/corpus/ternary of 40", "none/binary/hamming/per_call/ternary of 40"]
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=precisions, rescoring="int2_quantile")
    sizes = {output.document: (output.document_bytes(384), output.stored_bytes(384)) for output in outputs(config)}
    assert sizes == {"int2": (96, 192), "ternary": (77, 77 + 96)}  # int2_quantile adds nothing to itself


def test_rescoring_requires_another_precision_than_the_search_before_it():
    cascade = [{"documents": "int8", "oversampling": 10}, {"documents": "float32", "oversampling": 2}]
    names = names_of(precisions=["float32", "int8", "binary"], rescoring=["none", "float32", cascade])
    assert names == [
        "none/float32/dot",
        "none/int8/dequantized/corpus",
        "none/int8/dequantized/corpus/float32 of 40",
        "none/binary/hamming",
        "none/binary/hamming/float32 of 40",
        "none/binary/hamming/corpus/int8 of 100/float32 of 20",
    ]


def test_truncation_multiplies_everything():
    assert names_of(precisions=["float32"], dimensions=[None, 128, 64]) == [
        "none/float32/dot",
        "none_128/float32/dot",
        "none_64/float32/dot",
    ]


def test_a_single_value_is_short_for_a_list_and_a_dump_can_be_read():
    config = EvaluateConfig(metrics=["ndcg@10"], ranges="per_call", scoring="codes", rescoring="int8", dimensions=64)
    assert config.ranges == ["per_call"]
    assert EvaluateConfig.model_validate(config.model_dump(mode="json")) == config


def test_bytes_are_of_the_index_that_is_searched_first():
    config = EvaluateConfig(
        metrics=["ndcg@10"],
        precisions=["binary", "float32_x_binary"],
        scoring=["dequantized", "rabitq"],
        rescoring="float32",
    )
    sizes = {output.name: output.document_bytes(384) for output in outputs(config)}
    assert sizes["none/binary/hamming/float32 of 40"] == 48
    assert sizes["none/float32_x_binary/rabitq/float32 of 40"] == 56


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rescoring": ["float17"]}, "unknown precision 'float17'"),
        ({"metrics": ["ndcg@10", "ndcg@10"]}, "metrics lists an entry twice"),
        ({"rescoring": ["float32", "float32"]}, "rescoring lists an entry twice"),
        ({"rescoring": [["float32", "int8"]]}, r"must compare fewer documents than the one before, not \[40, 40\]"),
        ({"scoring": ["hamming"]}, "'scalar_quantizer', 'sentence_transformers_compat' or 'mteb_compat'"),
        ({"dimensions": [0]}, "greater than 0"),
        ({"ranges": ["model"], "dimensions": [64]}, "evaluate them with dimensions: .null"),
        ({"ranges": ["model"], "rotations": ["itq"]}, "evaluate them with rotations: .none"),
    ],
)
def test_mistakes_are_named(config, message):
    with pytest.raises(ValidationError, match=message):
        EvaluateConfig(**{"metrics": ["ndcg@10"], **config})


def test_compatible_scoring_uses_embeddings_as_encoded():
    grid = {"precisions": ["float32", "int8", "int4", "binary", "float32_x_int8"], "rotations": ["none", "itq"]}
    theirs = names_of(
        **grid, scoring=["sentence_transformers_compat"], rescoring=["none", "float32"], dimensions=[None, 64]
    )
    assert theirs == [
        f"none{cut}/{precision}/sentence_transformers_compat{ranges}"
        for cut in ("", "_64")
        for precision, ranges in (("float32", ""), ("int8", "/per_call"), ("binary", ""))
    ]
    assert [name.split("/")[1] for name in names_of(**grid, scoring=["mteb_compat"])] == [
        "float32",
        "int8",
        "int4",
        "binary",
    ]


def test_indexes_other_than_flat_search_values_or_bits():
    names = names_of(
        precisions=["float32", "int8", "binary"], scoring=["dequantized", "codes"], index=["flat", {"kind": "ivf"}]
    )
    assert names == [
        "none/float32/dot", "none/float32/dot/ivf_8",
        "none/int8/dequantized/corpus", "none/int8/dequantized/corpus/ivf_8", "none/int8/codes/corpus",
        "none/binary/hamming", "none/binary/hamming/ivf_8",
    ]  # fmt: skip


AXES = ["centred", "itq", {"kind": "overcomplete", "factor": 2}]


def test_only_bits_are_scored_on_bit_axes():
    precisions = ["float32", "int8", "binary", "float32_x_binary"]
    plain = names_of(precisions=precisions)
    names = names_of(precisions=precisions, bit_axes=AXES)
    assert names[: len(plain)] == plain
    assert names[len(plain) :] == [
        f"{axes}/{output}"
        for axes in ("centred", "itq", "overcomplete_2x")
        for output in ("binary/hamming", "float32_x_binary/dequantized")
    ]
    for kind in ("reranking", "similarity"):
        config = EvaluateConfig(metrics=["ndcg@10"], precisions=precisions, bit_axes=AXES)
        assert [output.name for output in outputs(config, kind)] == names
    assert names_of(precisions=["float32", "int8"], bit_axes=AXES) == names_of(precisions=["float32", "int8"])


def test_bit_axes_are_not_combined_with_other_fields():
    grid = {
        "precisions": ["binary", "int8_x_ubinary"],
        "scoring": ["dequantized", "rabitq", "mteb_compat"],
        "rescoring": ["none", "float32"],
        "index": ["flat", "hnsw"],
        "dimensions": [64, None],
        "ranges": ["corpus"],
    }
    further = names_of(**grid, bit_axes=["centred"])[len(names_of(**grid)) :]
    assert further == ["centred/binary/hamming", "centred/int8_x_ubinary/dequantized/corpus"]
    cut = names_of(precisions=["binary"], dimensions=[64, 32], bit_axes=["centred"])
    assert cut == ["none_64/binary/hamming", "none_32/binary/hamming", "centred_64/binary/hamming"]
    assert names_of(precisions=["binary"], scoring=["mteb_compat"], bit_axes=["centred"]) == ["none/binary/mteb_compat"]
    own = names_of(precisions=["int8", "binary"], ranges=["model"], bit_axes=["centred"])
    assert own == ["none/int8/dequantized/model", "none/binary/hamming", "centred/binary/hamming"]


def test_axes_that_are_listed_twice_are_scored_once():
    names = names_of(precisions=["int8", "binary"], rotations=["none", "itq"], bit_axes=["none", "itq", "median"])
    assert len(names) == len(set(names)) == 5
    assert names[-1] == "median/binary/hamming"


def test_an_output_names_the_calibration_set_of_its_axes():
    axes = [*AXES, {"center": "median", "fitted_on": "training"}, "random", {"kind": "random", "center": "mean"}]
    config = EvaluateConfig(metrics=["ndcg@10"], precisions=["int8", "binary"], bit_axes=axes)
    fitted = {output.axes: output.described(8)["fitted_on"] for output in outputs(config)}
    assert fitted == {
        "none": "none", "centred": "corpus", "itq": "corpus", "overcomplete_2x": "none", "median_training": "training",
        "random": "none", "random_centred": "corpus",
    }  # fmt: skip


def test_bits_whose_products_are_estimated_are_centred_on_the_corpus():
    config = EvaluateConfig(precisions=["float32_x_binary"], scoring=["dequantized", "rabitq", "bbq"])
    fitted = {
        output.scoring: (output.described(384)["fitted_on"], output.document_bytes(384)) for output in outputs(config)
    }
    assert fitted == {"dequantized": ("none", 48), "rabitq": ("corpus", 56), "bbq": ("corpus", 56)}


def test_few_bits_counts_everything_that_is_stored():
    config = EvaluateConfig(
        metrics=["ndcg@10"],
        precisions=["float32", "int4", "binary", "float32_x_binary"],
        scoring=["dequantized", "rabitq", "mteb_compat"],
        rescoring=["none", "float32"],
    )
    few = [output.name for output in outputs(config) if has_few_bits(output.described(8))]
    assert few == ["none/binary/hamming", "none/float32_x_binary/dequantized", "none/float32_x_binary/rabitq"]
    assert not has_few_bits(TEXT_OUTPUT)


def test_pairs_are_not_searched():
    config = EvaluateConfig(
        metrics=["ndcg@10"],
        precisions=["float32", "binary", "float32_x_binary"],
        scoring=["dequantized", "rabitq", "mteb_compat"],
        rescoring=["none", "float32"],
        index=["flat", "hnsw"],
    )
    pairs = ["none/float32/dot", "none/binary/hamming", "none/float32_x_binary/dequantized"]
    assert [output.name for output in outputs(config, "reranking")] == pairs
    assert {output.name for output in outputs(config, "similarity")} == {
        *pairs, "none/float32/mteb_compat", "none/binary/mteb_compat",
    }  # fmt: skip
