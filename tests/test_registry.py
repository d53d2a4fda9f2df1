"""Registries contain qatlab's own classes and those of installed packages, which are imported when one is named, not before."""

import subprocess
import sys
from typing import Literal

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

import qatlab.sources.source as source_module
from qatlab.artifact import read_json
from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.plan.artifacts import data_origin
from qatlab.registry import Registry
from qatlab.sources.packages import Docstrings
from qatlab.sources.source import SOURCES, Source
from qatlab.stage_code import stage_code, stage_modules
from qatlab.stages import data
from qatlab.study.config import RunConfig

PLUGIN = '''
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from qatlab.sources.source import Source

FIRST = 1


class Counted(Source):
    """Numbers and the next ones."""

    source: Literal["counted"]
    step: Annotated[int, Field(gt=0)] = 1
    columns: list[str] = ["anchor", "positive"]

    def origin(self):
        return {"first": FIRST}

    def load(self):
        return pd.DataFrame([(str(n), str(n + self.step)) for n in range(FIRST, FIRST + 50)], columns=self.columns), None

    def describe(self, manifest):
        return ", counted by a plugin"
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package that adds a source: its modules and its metadata, as pip writes them."""
    place = tmp_path / "site"
    package, metadata = place / "counting", place / "counting_for_qatlab-1.2.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    (package / "numbers.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-for-qatlab\nVersion: 1.2\n")
    (metadata / "top_level.txt").write_text("counting\n")
    (metadata / "entry_points.txt").write_text(
        "[qatlab.sources]\ncounted = counting.numbers:Counted\nbroken = counting.nothing:Broken\n"
    )
    monkeypatch.syspath_prepend(place)
    registry = Registry(SOURCES.concept, SOURCES.package)
    registry._classes = dict(SOURCES._classes)
    monkeypatch.setattr(source_module, "SOURCES", registry)
    yield registry
    for name in [name for name in sys.modules if name.partition(".")[0] == "counting"]:
        del sys.modules[name]


def test_every_source_of_qatlab_is_registered_by_the_name_that_its_field_holds():
    assert set(SOURCES.built_in) == {"docstrings", "hub", "local", "numerals", "package_texts", "parallel"}
    for name, source in SOURCES.built_in.items():
        assert source.model_fields["source"].annotation == Literal[name]
    assert SOURCES.get("docstrings") is Docstrings


def test_the_order_of_imports_changes_nothing():
    """Messages and schemas list sources in the order of their modules."""
    code = "{}; from qatlab.study.config import RunConfig; print(RunConfig.model_json_schema())"
    printed = [
        subprocess.run([sys.executable, "-c", code.format(first)], check=True, capture_output=True, text=True).stdout
        for first in ("pass", "import qatlab.sources.parallel, qatlab.tasks.withheld")
    ]
    assert printed[0] == printed[1]


def test_an_unknown_name_is_one_line_with_those_that_are_known():
    with pytest.raises(
        UserError, match=r"unknown source of training data 'docstring' \(did you mean 'docstrings'\?\); valid: docstr"
    ):
        SOURCES.get("docstring")


def test_a_name_is_registered_once():
    registry = Registry("source of training data", "qatlab.sources")
    registry.register("mine")(Docstrings)
    registry.register("mine")(Docstrings)
    with pytest.raises(ValueError, match=r"'mine' is already registered, by qatlab\.sources\.packages"):
        registry.register("mine")(Source)


def test_a_plugin_is_imported_when_it_is_named_and_not_before(plugin):
    adapter = TypeAdapter(plugin.config_type())
    assert "counted" in plugin.names()
    adapter.validate_python({"source": "numerals", "name": "numbers"})
    assert "counting.numbers" not in sys.modules
    config = adapter.validate_python({"source": "counted", "name": "numbers", "step": 3})
    assert config.step == 3
    assert adapter.dump_python(config)["step"] == 3  # and not the fields of every source alone
    assert plugin.get("counted") is type(config)


def test_a_plugins_configuration_is_validated(plugin):
    adapter = TypeAdapter(plugin.config_type())
    with pytest.raises(ValidationError, match="step: Input should be greater than 0"):
        adapter.validate_python({"source": "counted", "name": "numbers", "step": 0})
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        adapter.validate_python({"source": "counting", "name": "numbers"})


def test_a_plugin_that_cannot_be_imported_is_one_line(plugin):
    message = "source of training data 'broken' of package counting-for-qatlab cannot be imported: ModuleNotFoundError"
    with pytest.raises(UserError, match=message):
        plugin.get("broken")


def test_a_plugins_version_and_origin_decide_what_its_rows_are(plugin):
    config = plugin.get("counted")(source="counted", name="numbers")
    assert data_origin(config) == {"plugin": {"counting-for-qatlab": "1.2"}, "origin": {"first": 1}}


def test_the_data_stage_writes_a_plugins_rows(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SOURCES", plugin)
    config = {"source": "counted", "name": "numbers", "rows": 20}
    (tmp_path / "out").mkdir()
    data.run(JobDescription(config=config, origin={}), {}, tmp_path / "out", None)
    rows = pd.read_parquet(tmp_path / "out" / "train.parquet")
    assert len(rows) == 20
    assert (rows["positive"].astype(int) == rows["anchor"].astype(int) + 1).all()
    assert read_json(tmp_path / "out" / "manifest.json")["source"] == "counted"


def test_another_source_changes_nothing_that_is_made_by_the_others(plugin, tmp_path):
    """The code of a job is that of its own kind of source."""
    lock = tmp_path / "lock"
    lock.write_text("")
    modules = stage_modules("data", ("qatlab.sources.numerals",))
    assert "qatlab.sources.numerals" in modules
    assert not {"qatlab.sources.stored", "qatlab.sources.packages"} & set(modules)
    plugin.get("counted")
    before = stage_code("data", lock, ("counting.numbers",))
    assert before != stage_code("data", lock, ("qatlab.sources.numerals",))
    module = tmp_path / "site" / "counting" / "numbers.py"
    module.write_text(module.read_text().replace('"""Numbers', '"""More words about numbers'))
    assert stage_code("data", lock, ("counting.numbers",)) == before
    module.write_text(module.read_text().replace("FIRST = 1", "FIRST = 2"))
    assert stage_code("data", lock, ("counting.numbers",)) != before


def test_a_run_takes_any_source():
    assert RunConfig.model_fields["data"].is_required()
    schema = str(RunConfig.model_json_schema())
    assert all(f"'{name}'" in schema for name in SOURCES.built_in)
