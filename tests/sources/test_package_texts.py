"""Source files of packages as texts."""

import json

import pandas as pd
import pytest

from qatlab.errors import UserError
from qatlab.job import JobDescription
from qatlab.plan.artifacts import data_origin, task_kind, task_origin
from qatlab.sources import packages as docstrings
from qatlab.sources import packages as package_texts
from qatlab.sources.packages import PackageTexts
from qatlab.stages import data, task
from qatlab.tasks.texts import PackageTextTask


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages that share a file."""
    files = {
        "one/__init__.py": "",
        "one/b.py": "b = 1\n",
        "one/a.py": "a = 'é'\n",
        "one/copy.py": "b = 1\n",
        "one/shared.py": "shared = 1\n",
        "one/tests/test_a.py": "assert True\n",
        "other/__init__.py": "other = 1\n",
        "other/vendored/shared.py": "shared = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "site/one/latin.py").write_bytes("# é\n".encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(docstrings.importlib.metadata, "version", lambda name: "1.0")


@pytest.mark.usefixtures("packages")
def test_files_are_whole_distinct_and_sorted():
    assert package_texts.source_files("one") == ["a = 'é'\n", "b = 1\n", "shared = 1\n"]
    assert package_texts.source_files_of_all(["one", "other"]) == [
        "a = 'é'\n",
        "b = 1\n",
        "shared = 1\n",
        "other = 1\n",
    ]


@pytest.mark.usefixtures("packages")
def test_texts_of_a_held_out_package_are_not_training_texts(tmp_path):
    assert package_texts.source_files_of_all(["one"], held_out=["other"]) == ["a = 'é'\n", "b = 1\n"]
    (tmp_path / "out").mkdir()
    config = PackageTexts(source="package_texts", name="texts", packages=["one"], held_out=["other"])
    assert data_origin(config) == {"one": "1.0", "other": "1.0"}
    data.run(JobDescription(config=config.model_dump(), origin=None), {}, tmp_path / "out", 1)
    table = pd.read_parquet(tmp_path / "out/train.parquet")
    assert list(table.columns) == config.columns == ["text"]
    assert sorted(table["text"]) == ["a = 'é'\n", "b = 1\n"]


@pytest.mark.usefixtures("packages")
def test_as_a_task(tmp_path):
    (tmp_path / "out").mkdir()
    config = PackageTextTask(source="package_texts", package="one", queries=2)
    task.run(JobDescription(config={"task": "mine", **config.model_dump()}, origin=None), {}, tmp_path / "out", 1)
    queries, documents = (pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("queries", "documents"))
    assert queries.equals(documents)
    assert len(queries) == 2
    assert task_kind(config, None) == json.loads((tmp_path / "out/manifest.json").read_text())["kind"]


def test_a_real_package():
    texts = package_texts.source_files("networkx")
    assert len(texts) == len(set(texts)) > 200
    assert any("def pagerank(" in text for text in texts)
    assert not any("import pytest" in text and "class TestPageRank" in text for text in texts)
    assert task_origin(PackageTextTask(source="package_texts", package="networkx")) == {
        "networkx": docstrings.package_version("networkx")
    }
    with pytest.raises(UserError, match="package 'nopackage' is not installed, so its sources cannot be read"):
        task_origin(PackageTextTask(source="package_texts", package="nopackage"))
