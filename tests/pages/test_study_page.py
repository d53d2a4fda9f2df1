"""The page of a study: what it shows, what it escapes, and that it loads nothing."""

import re
from xml.etree import ElementTree

import pytest

from html_elements import Elements
from qatlab.pages.page import as_shown, command, inline_svg
from qatlab.plan.safe_files import split_overrides
from qatlab.tables.missing import MissingArtifact
from qatlab.tables.names import LONG
from qatlab.tables.table import tables_of
from study_folder import CONCLUSION, OFFER, differences, record, written

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \"' &lt; "
# Attributes of elements from which a browser loads something, except links, which are followed by people.
LOADED = ("src", "srcset", "data", "poster", "background", "action", "formaction", "ping")


def test_the_answer_comes_first_and_then_what_to_ship_and_how_to_load_it(tmp_path):
    words = Elements(written(tmp_path, record(question="Does it pay?"))).words()
    heading, _, words = words.partition("How it was made")  # the last link of the table of contents
    assert heading.index("A tiny study") < heading.index("Does it pay?")
    places = [
        words.index(part)
        for part in (
            "Binary costs baseline 0.0432.", "No recipe is separable.",
            "Ship ste as onnx_int8.", "Undecided: 4,100 queries would decide.", "What to ship", "safest Method", "balanced Method",
            "Load the balanced variant", "Paired differences from the baseline and from float", "How it was made",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    for value in (
        "Deployment onnx_int8", "Precision int8", "Scoring dot", "Bytes per document 384", "Size of the model 23.8 MB",
        "Texts per second 212", "nDCG@10 0.3731", "Loss against float 0.0021", "95 % interval −0.0011 to 0.0032",
        "Relative loss 0.6 %", "Relative loss, at most 0.9 %", "Against float not separable",
        "0.3752 (baseline, torch_fp32, float32)", "is at most 0.2 % (safest), 1 % (balanced) or 5 % (smallest) of the best float result",
        "from sentence_transformers import SentenceTransformer model = SentenceTransformer('ste')",
    ):  # fmt: skip
        assert value in words, value


def test_grades_with_the_same_form_share_a_card(tmp_path):
    both = CONCLUSION | {"offers": [OFFER | {"grade": "safest"}, OFFER, OFFER | {"grade": "smallest", "doc_bytes": 48}]}
    text = written(tmp_path, record(), both)
    cards = [values["class"] for tag, values in Elements(text).elements if tag == "section"]
    assert cards == ["offer safest balanced", "offer smallest"]
    assert "Load the safest and balanced variant" in text


def test_the_engine_of_an_offer_is_shown_with_its_configuration_and_code(tmp_path):
    engine = {
        "engine": "usearch",
        "mode": "int8_qatlab_hnsw",
        "version": "2.26.6",
        "value": 0.37,
        "difference": -0.0001,
    }
    engine |= {"low": -0.0004, "high": 0.0002, "queries_per_second": 5120.4, "search": "index = Index(ndim=384)"}
    engine |= {"configuration": "evaluate:\n  engines: [usearch]\n"}
    offers = [
        OFFER | {"engine": engine},
        OFFER | {"grade": "smallest", "engine": engine | {"search": None, "mode": "x"}},
    ]
    words = Elements(written(tmp_path, record(), CONCLUSION | {"offers": offers})).words()
    assert "In a search engine: usearch 2.26.6 in the mode int8_qatlab_hnsw has nDCG@10 0.3700, −0.0001 from" in words
    assert (
        "at 5,120 queries per second in one thread. Its configuration, and code that follows the code above: evaluate: engines:"
        in words
    )
    assert words.count("index = Index(ndim=384)") == 1
    assert "Its configuration: evaluate" in words


def test_all_plots_and_tables_are_shown_with_two_sentences_and_a_title(tmp_path):
    study = record()
    parsed = Elements(written(tmp_path, study))
    ids = [values["id"] for _, values in parsed.elements if "id" in values]
    assert len(ids) == len(set(ids))
    names = [name for name in tables_of(study) if name != "answers"]
    assert {f"table-{name}" for name in names} <= set(ids)
    assert {"forest", "scores", "plot-forest", "plot-scores"} <= set(ids)
    assert all(f"Title of {name}" in parsed.words() for name in names)
    assert parsed.tags.count("svg") == parsed.tags.count("figcaption") >= 2


def test_a_study_without_a_conclusion_or_with_one_of_another_version_has_a_page(tmp_path):
    page = written(tmp_path, record(), None)
    assert "This study has no conclusion" in Elements(page).words()
    assert 'href="#ship"' not in page
    newer = Elements(written(tmp_path / "newer", record(), CONCLUSION | {"version": 2})).words()
    assert "This study has no conclusion" in newer


def test_missing_runs_are_named_with_their_reason(tmp_path):
    lacks = {
        "train/ste-1": MissingArtifact(status="failed", reason="train ste-seed=1: diverged at step 12"),
        "train/ste-0": MissingArtifact(status="not run"),
    }
    words = Elements(written(tmp_path, record(), None, lacks)).words()
    assert "2 of 4 runs are not complete: ste-seed=0 not run ste-seed=1 failed: train ste-seed=1: diverged" in words
    assert words.count("complete ") >= 2
    whole = Elements(written(tmp_path / "whole", record(), None)).words()
    assert "not complete" not in whole


def test_how_it_was_made_has_command_versions_machine_and_what_differs_between_trainings(tmp_path):
    parsed = Elements(written(tmp_path, record(overrides=["data.rows=128", "a=[1,2]"], scale="small")))
    words = parsed.words()
    assert 'snakemake --cores all --config study=tiny scale=small overrides="data.rows=128 a=[1,2]" Machine' in words
    assert "training cpu (AVX2, 2 threads)" in words
    assert re.search(r"torch \d+\.\d+", words)
    assert "Training of baseline-seed=0 – 4 keys method.name baseline trainer.batch_size 64" in words
    assert "Training of ste-seed=0: differs from baseline-seed=0 in – 1 key method.name ste" in words


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("a=1",),
        ("a=[1,2]", "+b={c: d}"),
        ("data.path='my file.csv'", "a=[1,2]"),
        ('x="quote\'s"', "y=$HOME"),
        ("x=a\\b", "z=`id`!", "~c"),
    ],
)
def test_the_command_has_the_overrides_that_it_was_given(overrides):
    import shlex

    words = shlex.split(command(record(overrides=overrides)))
    given = [word.removeprefix("overrides=") for word in words if word.startswith("overrides=")]
    assert [part for text in given for part in split_overrides(text)] == list(overrides)


def test_names_and_sentences_are_shown_and_never_obeyed(tmp_path):
    colour = f"{HOSTILE}\x1b[31m"  # names and titles cannot contain control characters
    hostile = CONCLUSION | {
        "sentences": [colour, f"`{colour}`", ""],
        "undecided": colour,
        "offers": [OFFER | {"method": colour, "load": f"{colour}\n</pre>{colour}"}],
    }
    plain = Elements(written(tmp_path / "plain", record(question="?"), CONCLUSION | {"offers": [OFFER]}))
    text = written(tmp_path / "hostile", record(("baseline", HOSTILE), title=HOSTILE, question=HOSTILE), hostile)
    parsed = Elements(text)
    assert parsed.tags.count("script") == plain.tags.count("script") == 1
    assert not {"img", "iframe", "object", "embed", "link", "form"} & set(parsed.tags)
    assert not [name for _, values in parsed.elements for name in values if name.startswith("on")]
    assert "\x1b" not in text
    assert "<script>alert(1)</script>" in parsed.words()  # as text


def test_the_page_loads_nothing_from_an_address(tmp_path):
    text = written(tmp_path, record())
    parsed = Elements(text)
    (policy,) = [v["content"] for t, v in parsed.elements if t == "meta" and "http-equiv" in v]
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert not [value for _, values in parsed.elements for name, value in values.items() if name in LOADED]
    links = [value for tag, values in parsed.elements for name, value in values.items() if name == "href"]
    assert {link for link in links if not link.startswith(("#", "tables/"))} == {"../index.html", "runs.csv"}
    assert {link for link in links if link.startswith("tables/")} >= {"tables/cost.csv", "tables/against_baseline.csv"}
    assert set(LONG) >= {"cost.csv"}
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


SVG = """<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="72pt" viewBox="0 0 72 72">
<metadata><a>http://x.example</a></metadata><script>alert(1)</script><foreignObject><b/></foreignObject>
<defs><style type="text/css">*{stroke-linejoin: round}</style><clipPath id="p1"><rect width="1"/></clipPath></defs>
<g id="axes_1" onclick="alert(1)"><use xlink:href="#m1"/><path id="m1" clip-path="url(#p1)"/><use xlink:href="http://x.example/a"/>
<text>id="axes_1" url(#p1) &lt;b&gt;</text></g></svg>"""


def test_drawings_keep_to_themselves():
    root = ElementTree.fromstring(inline_svg(SVG, "one", "A plot"))
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert ids == {"plot-one", "plot-one-p1", "plot-one-axes_1", "plot-one-m1"}
    assert {element.tag for element in root.iter()} == {
        "svg",
        "defs",
        "style",
        "clipPath",
        "rect",
        "g",
        "use",
        "path",
        "text",
    }
    assert [element.attrib for element in root.iter("use")] == [{"href": "#plot-one-m1"}, {}]
    assert root.find(".//path").attrib["clip-path"] == "url(#plot-one-p1)"
    assert root.find(".//style").text == "#plot-one *{stroke-linejoin: round}"
    assert root.find(".//text").text == 'id="axes_1" url(#p1) <b>'
    assert "onclick" not in root.find("g").attrib
    assert root.attrib["aria-label"] == "A plot"
    assert root.attrib["style"] == "max-width: 96px; min-width: 77px"


def test_columns_of_numbers_are_aligned_and_verdicts_coloured():
    shown = as_shown(differences(("ste",), ("better", "worse", "not separable")), "x", "", "", True)
    numeric = dict(zip(shown.columns, shown.numeric, strict=True))
    assert {name for name in numeric if numeric[name]} == {"value", "difference", "95 % interval", "p (Holm)"}
    at = shown.columns.index("verdict")
    assert [row[at].state for row in shown.rows] == ["good", "bad", "unsure"]
