"""Artifacts appear complete or not at all, and their identities follow from their content."""

import select
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatlab.artifact import canonical_json, files_below, folder_bytes, identity, sha256_of, written_aside

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_identity_does_not_depend_on_the_order_of_keys(values):
    assert identity("x", values) == identity("x", dict(reversed(values.items())))


@given(VALUES, VALUES)
def test_different_content_has_another_identity(one, other):
    assert (identity("x", one) == identity("x", other)) == (canonical_json(one) == canonical_json(other))


def test_a_slug_is_safe_in_a_path():
    assert identity("../a b/ç$(rm)", 1).startswith("a-b-rm-")


def test_a_failing_block_leaves_the_old_artifact_and_no_scratch(tmp_path):
    target = tmp_path / "artifact"
    with written_aside(target) as scratch:
        (scratch / "value").write_text("old")
    with pytest.raises(RuntimeError), written_aside(target) as scratch:
        (scratch / "value").write_text("new")
        raise RuntimeError
    assert (target / "value").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["artifact"]


def test_a_study_keeps_the_outputs_of_other_stages(tmp_path):
    for name, value in (("tables", "1"), ("plots", "2"), ("tables", "3")):
        with written_aside(tmp_path / "study", beside=name) as scratch:
            (scratch / name).mkdir()
            (scratch / name / "file").write_text(value)
    assert (tmp_path / "study" / "tables" / "file").read_text() == "3"
    assert (tmp_path / "study" / "plots" / "file").read_text() == "2"


def test_checksum_of_a_folder_follows_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = sha256_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256_of(tmp_path) != first


def test_checksums_and_sizes_follow_links(tmp_path):
    """The content of a linked folder is read."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir()
    folder.mkdir()
    (elsewhere / "model.safetensors").write_text("weights")
    (folder / "1_Dense").symlink_to(elsewhere)
    (folder / "again").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    assert files_below(folder) == [folder / "1_Dense" / "model.safetensors"]
    first = sha256_of(folder)
    assert folder_bytes(folder) == len("weights")
    (elsewhere / "model.safetensors").write_text("other weights")
    assert sha256_of(folder) != first
    assert folder_bytes(folder) == len("other weights")


def test_two_stages_of_a_study_may_write_at_once(tmp_path):
    with written_aside(tmp_path / "study", beside="plots") as first:
        with written_aside(tmp_path / "study", beside="mteb") as second:
            (first / "plots").mkdir()
            (second / "mteb").mkdir()
        (first / "plots/file").write_text("still here")
    assert sorted(entry.name for entry in (tmp_path / "study").iterdir()) == ["mteb", "plots"]


MAKER = """
import sys, time
from pathlib import Path
from qatlab.artifact import exclusively_locked
with exclusively_locked(Path(sys.argv[1]), lambda: print("waits", flush=True)):
    print("makes", flush=True)
    sys.stdin.readline()
"""


def maker(output):
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(output)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_an_artifact_has_one_maker_at_a_time(tmp_path):
    first = maker(tmp_path / "artifact")
    assert first.stdout.readline() == "makes\n"
    waiting = [maker(tmp_path / "artifact") for _ in range(2)]
    assert [process.stdout.readline() for process in waiting] == ["waits\n"] * 2
    first.communicate("\n")
    ready, _, _ = select.select([process.stdout for process in waiting], [], [], 30)
    time.sleep(0.5)  # the other would continue within this time, if it were not locked
    assert len(select.select([process.stdout for process in waiting], [], [], 0)[0]) == len(ready) == 1
    for process in sorted(waiting, key=lambda process: process.stdout not in ready):
        assert process.communicate("\n")[0] == "makes\n"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_maker_holds_nothing_up(tmp_path):
    first = maker(tmp_path / "artifact")
    assert first.stdout.readline() == "makes\n"
    first.kill()
    first.wait()
    assert maker(tmp_path / "artifact").communicate("\n", timeout=30)[0] == "makes\n"


def test_long_slugs_are_truncated_and_stay_distinct():
    first, second = (identity("a" * 400, content) for content in (1, 2))
    assert first != second
    assert len(first) < 200
    assert identity("..", 1).startswith("unnamed-")
