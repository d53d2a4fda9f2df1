"""Untrusted text is shown in a terminal unchanged, or with control characters escaped; secrets are replaced by their names."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatlab import progress
from qatlab.errors import LONGEST_WORD, UserError, is_plain, printable, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\x9bm", "a\\x9bm"),
        ("\ud800", "\\ud800"),
        ("é × 日本 – 🙂 \u00a0", "é × 日本 – 🙂 \u00a0"),
    ],
)
def test_control_characters_are_seen(text, shown):
    assert printable(text) == shown
    assert is_plain(text) == (text == shown)


@given(st.text())
def test_printable_text_is_plain_and_unchanged_when_repeated(text):
    assert is_plain(printable(text))
    assert printable(printable(text)) == printable(text)


def test_lines_for_a_person_are_plain(capfd):
    progress.say("data x\x1b[2J: \ud800")
    assert capfd.readouterr().err == "data x\\x1b[2J: \\ud800\n"


def test_secrets_are_shown_by_name(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_broken\nin_two")
    monkeypatch.setenv("WANDB_API_KEY", "abcdef")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    message = without_secrets("header 'Bearer hf_broken\\nin_two', Bearer hf_broken\nin_two; abcdef; hf_other")
    assert message == "header 'Bearer <HF_TOKEN>', Bearer <HF_TOKEN>; <WANDB_API_KEY>; hf_other"


def test_an_error_of_the_hubs_client_does_not_quote_the_token(monkeypatch):
    from huggingface_hub import HfApi

    from qatlab.hub import hub_errors, reason

    monkeypatch.setenv("HF_TOKEN", "hf_broken\nin_two")
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(hub_errors()) as caught:
            HfApi(endpoint=endpoint, token="hf_broken\nin_two").whoami()
    assert "hf_broken" in str(caught.value)  # it does; we do not
    assert "hf_broken" not in reason(caught.value)
    assert "<HF_TOKEN>" in reason(caught.value)


@given(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=700), st.integers(1, 3))
def test_a_message_quotes_the_ends_of_a_long_value(value, count):
    message = str(UserError(" ".join(["unknown method", *[value] * count])))
    if len(value) <= LONGEST_WORD:
        assert message.split() == ["unknown", "method", *[value] * count]
    else:
        assert message.split()[2:] == [message.split()[2]] * count
        assert len(message) <= len("unknown method") + count * (LONGEST_WORD + 1)
        assert message.split()[2].startswith(value[:100])
        assert message.endswith(value[-100:])
