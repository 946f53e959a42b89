"""`causal_llm`: the label position, the five labels, LoRA, and what is refused; on a tiny random Llama."""

import shutil

import numpy as np
import pytest

from prefroute.checkpoint import load, save_checkpoint
from prefroute.errors import CheckpointError, ConfigError, MissingExtraError
from prefroute.routers._causal_prompt import LABELS
from prefroute.routers.causal_llm import CausalLLM
from prefroute.testing import check_router, tiny_outcomes
from prefroute.types import Outcomes

HARD = [f"prove theorem {i}" for i in range(40)]
EASY = [f"hello friend {i}" for i in range(40)]
CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
THINKING = CHAT.replace("{{ m['content'] }}", "{% if m['role'] == 'assistant' %}hm {% endif %}{{ m['content'] }}")
FORGETFUL = "<s>{% if add_generation_prompt %}assistant: {% endif %}"


def causal(folder, **params):
    return CausalLLM("big", "small", base=str(folder), **({"steps": 2} | params))


@pytest.fixture(scope="module")
def fitted(tiny_decoder):
    return causal(tiny_decoder).fit(tiny_outcomes())


@pytest.fixture
def with_template(tiny_decoder, tmp_path):
    """A copy of the tiny decoder whose tokenizer has the chat template."""

    def make(template):
        folder = tmp_path / "chatty"
        shutil.copytree(tiny_decoder, folder)
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


def test_labels_are_marks_of_the_weak_model_and_a_tie_lies_half_below_good_enough(tiny_decoder):
    targets = causal(tiny_decoder)._targets(np.array([1.0, 0.75, 0.5, 0.0]))

    expected = [[1, 0, 0, 0, 0], [0.5, 0, 0.25, 0.25, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1]]
    assert targets == pytest.approx(np.array(expected))


def test_win_rate_of_a_label_distribution_is_the_win_rate_it_came_from(tiny_decoder):
    win = np.linspace(0, 1, 21)

    assert causal(tiny_decoder)._targets(win) @ np.array(CausalLLM.strong_share) == pytest.approx(win)


def test_learns_what_tells_prompts_apart(tiny_decoder):
    quality = np.array([[1.0, 0.0]] * len(HARD) + [[1.0, 1.0]] * len(EASY))
    data = Outcomes([*HARD, *EASY], ("big", "small"), quality)

    router = causal(tiny_decoder, steps=100, lr=3e-3).fit(data)

    assert router.win_rate(HARD).min() > router.win_rate(EASY).max()


def test_label_position_stays_when_the_prompt_is_far_too_long(fitted):
    meta = fitted.parts_.meta

    (ids,) = fitted.parts_.reader(["word " * 10_000])

    assert len(ids) == 1024  # all that the tiny model reads
    assert ids[: len(meta["before"])] == meta["before"]
    assert ids[-len(meta["after"]) :] == meta["after"]


def test_long_prompt_keeps_its_head_and_its_tail(fitted):
    meta = fitted.parts_.meta
    head, middle, tail = fitted.parts_.reader(["aaaa", "mmmm", "zzzz"])
    inner = slice(len(meta["before"]), -len(meta["after"]))

    (ids,) = fitted.parts_.reader(["aaaa" + "m" * 4000 + "zzzz"])

    assert ids[inner][:4] == head[inner]
    assert ids[inner][-4:] == tail[inner]
    assert middle[inner][0] in ids[inner]


def test_label_tokens_are_in_the_vocabulary_and_no_prompt_can_write_one(fitted):
    from tokenizers import Tokenizer

    label_ids = fitted.parts_.meta["label_ids"]

    vocabulary = Tokenizer.from_str(fitted.parts_.tokenizer)
    assert [vocabulary.token_to_id(label) for label in LABELS] == label_ids
    (ids,) = fitted.parts_.reader(["the answer is [[5]] </s><s>"])
    assert not set(ids[1:]) & {*label_ids, 0, 1}  # 0 and 1 are <s> and </s>; the text starts with one <s> of ours


def test_label_rows_start_near_the_mean_of_the_vocabulary(tiny_decoder):
    import torch

    from prefroute.routers._networks import first_rows

    model = torch.nn.Module()
    weight = torch.randn(500, 8) + 3
    model.get_output_embeddings = lambda: torch.nn.Linear(8, 500)
    layer = model.get_output_embeddings()
    layer.weight.data = weight
    model.get_output_embeddings = lambda: layer

    rows = first_rows(model, 5)

    assert torch.allclose(rows, weight.mean(0).expand(5, 8), atol=0.6)  # noise of a tenth of a deviation
    assert len({tuple(row.tolist()) for row in rows}) == 5


def test_chat_template_stands_around_the_request(with_template):
    router = causal(with_template(CHAT), chat=True).fit(tiny_outcomes())

    before, after = router.parts_.meta["before"], router.parts_.meta["after"]
    assert before[0] == 0  # <s>, once, from the template
    assert before.count(0) == 1
    assert after.count(0) == 1  # the generation prompt


@pytest.mark.parametrize("template", [THINKING, FORGETFUL], ids=["writes before the answer", "drops the request"])
def test_chat_template_that_hides_the_label_position_is_refused(with_template, template):
    with pytest.raises(ConfigError, match=r"chat template hides the label position"):
        causal(with_template(template), chat=True).fit(tiny_outcomes())


def test_chat_template_that_fails_is_refused(with_template):
    with pytest.raises(ConfigError, match=r"does not take a request and an answer"):
        causal(with_template("{{ raise_exception('no') }}"), chat=True).fit(tiny_outcomes())


def test_missing_chat_template_is_refused(tiny_decoder):
    with pytest.raises(ConfigError, match=r"tokenizer has no chat template"):
        causal(tiny_decoder, chat=True).fit(tiny_outcomes())


def test_window_too_small_for_the_instruction_is_refused(tiny_decoder):
    with pytest.raises(ConfigError, match=r"`max_tokens` of 100 leaves -?[0-9]+ tokens for a prompt"):
        causal(tiny_decoder, max_tokens=100).fit(tiny_outcomes())


def test_negative_rank_is_refused(tiny_decoder):
    with pytest.raises(ConfigError, match=r"`lora_rank` must be a whole number, 0 or more, got -1"):
        causal(tiny_decoder, lora_rank=-1).fit(tiny_outcomes())


def test_lora_keeps_the_contract(tiny_decoder):
    pytest.importorskip("peft")

    check_router(lambda: causal(tiny_decoder, lora_rank=2, steps=1))


def test_lora_keeps_adapters_and_label_rows_alone(tiny_decoder):
    pytest.importorskip("peft")

    arrays = causal(tiny_decoder, lora_rank=2).fit(tiny_outcomes()).state().arrays

    assert all("lora_" in name for name in set(arrays) - {"labels", "tokenizer.json"})
    assert arrays["labels"].shape == (5, 32)


def test_adapters_refuse_another_base(tiny_decoder, tmp_path):
    pytest.importorskip("peft")
    from safetensors.numpy import load_file, save_file

    base = shutil.copytree(tiny_decoder, tmp_path / "base")
    save_checkpoint(causal(base, lora_rank=2).fit(tiny_outcomes()), tmp_path / "router")
    weights = load_file(base / "model.safetensors")
    changed = {name: array + 1 for name, array in weights.items()}
    save_file(changed, base / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"adapters were trained on weights [0-9a-f]{12}"):
        load(tmp_path / "router")


def test_missing_peft_is_named(tiny_decoder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)

    with pytest.raises(MissingExtraError, match=r"LoRA needs the extra 'train'"):
        causal(tiny_decoder, lora_rank=2).fit(tiny_outcomes())
