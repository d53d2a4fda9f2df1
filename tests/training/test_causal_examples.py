"""Training examples of a causal language model: blocks of text, and translations whose prompt is not predicted."""

from qatlab.families.causal_lm.train import Blocks, PadRight, translations
from qatlab.models.causal_lm import IGNORED, byte_tokenizer, fill_prompt

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def text_of(tokens):
    return TOKENIZER.decode([token for token in tokens if token not in (IGNORED, END)])


def test_blocks_hold_all_texts_one_behind_the_other():
    texts = ["first text", "second", "the third one"]
    blocks = Blocks(TOKENIZER, texts, 8)
    rows = [blocks[at] for at in range(len(blocks))]
    stream = [token for block in rows for token in block["input_ids"]]
    assert all(len(block["input_ids"]) == 8 and block["labels"] == block["input_ids"] for block in rows)
    assert stream.count(END) == 3
    assert "".join(texts).startswith(text_of(stream))
    assert len("".join(texts)) - len(text_of(stream)) < 8


def test_a_translation_is_predicted_and_its_prompt_is_not():
    (example,), too_long = translations(TOKENIZER, ["a cat"], ["un chat"], "en: {source} fr: ", 64)
    assert too_long == 0
    assert text_of(example["input_ids"]) == "en: a cat fr: un chat"
    assert text_of(example["labels"]) == "un chat"
    assert example["labels"][-1] == END
    assert example["input_ids"][0] == END  # where it has no token for the beginning
    assert len(example["labels"]) == len(example["input_ids"])


def test_examples_that_are_too_long_are_counted():
    examples, too_long = translations(TOKENIZER, ["a", "b" * 30], ["x", "y" * 30], "{source}:", 16)
    assert (len(examples), too_long) == (1, 1)


def test_braces_elsewhere_are_left_alone():
    assert fill_prompt("{a} {source}!", "{b} {source}") == "{a} {b} {source}!"


def test_shorter_examples_are_padded_behind():
    batch = PadRight(0)([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}, {"input_ids": [8], "labels": [8]}])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[5, 6, 7], [8, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
