"""Configurations that are kept in the process: equal to what Hydra composes, and never out of date."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from conftest import PROJECT
from qatlab.plan.configuration_files import ConfigurationFiles

CONF = PROJECT / "conf"
STUDIES = ConfigurationFiles(CONF).groups["study"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


@pytest.mark.parametrize("study", STUDIES)
def test_a_composed_study_is_what_hydra_composes(study: str) -> None:
    overrides = [f"study={study}", "method=ste", "++trainer.batch_size=7"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        expected = compose(config_name="config", overrides=overrides)
    files = ConfigurationFiles(CONF)
    for _ in range(2):  # composed, then kept
        composed = files.compose(overrides)
        assert composed == expected
        assert OmegaConf.is_struct(composed) == OmegaConf.is_struct(expected)


def test_changing_a_composed_configuration_does_not_change_the_next_one() -> None:
    files = ConfigurationFiles(CONF)
    first = files.compose(["study=quickstart"])
    first.study.matrix = {}
    first.deploy = {}
    assert files.compose(["study=quickstart"]).study.matrix
    assert files.compose(["study=quickstart", "method=ste"]).study.matrix
    assert files.compose(["study=quickstart"]).deploy


def test_a_changed_file_is_read_again(folder: Path) -> None:
    method = folder / "method" / "ste.yaml"
    before = ConfigurationFiles(folder).compose(["method=ste"])
    method.write_text(method.read_text(encoding="utf-8") + "\nwritten_later: 1\n", encoding="utf-8")
    after = ConfigurationFiles(folder).compose(["method=ste"])
    assert "written_later" not in before.method
    assert after.method.written_later == 1


def test_a_removed_choice_is_not_remembered(folder: Path) -> None:
    assert "ste" in ConfigurationFiles(folder).groups["method"]
    ConfigurationFiles(folder).compose(["method=ste"])
    (folder / "method" / "ste.yaml").unlink()
    assert "ste" not in ConfigurationFiles(folder).groups["method"]
    with pytest.raises(Exception, match="method/ste"):
        ConfigurationFiles(folder).compose(["method=ste"])


def test_folders_of_the_same_name_are_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "model" / "minilm.yaml").write_text("name: another/model\n", encoding="utf-8")
    other = ConfigurationFiles(Path("conf")).compose(["study=quickstart"])
    monkeypatch.chdir(CONF.parent)
    own = ConfigurationFiles(Path("conf")).compose(["study=quickstart"])
    assert other.model.name == "another/model"
    assert own.model.name != "another/model"
