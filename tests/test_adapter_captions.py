"""An adapter from its folder to captions: through the captioner's own loop, against peft and transformers' generate."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_making import PEFT_ASKS
from test_captioners import mixed
from transformers import GenerationConfig, LlavaForConditionalGeneration

from tasks.captioners import CaptionConfig, CaptionRequest, pixtral
from tasks.pixtral_inputs import PixtralInputs

pytestmark = PEFT_ASKS
TOKENS = 24
END, PAD = 2, 11


@pytest.fixture(scope="module")
def theirs(base: Path, adapter: Path) -> list[tuple[str, int]]:
    """Text and number of tokens of each request, by peft on transformers, one after the other, greedy."""
    model: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), adapter).eval()
    inputs = PixtralInputs(base)
    return [_generated(model, inputs, one) for one in mixed()]


def _generated(model: Any, inputs: PixtralInputs, request: CaptionRequest) -> tuple[str, int]:
    read = inputs(request.prompt, request.image)
    with torch.inference_mode():
        made = model.generate(
            input_ids=torch.tensor([read.ids]),
            attention_mask=torch.ones(1, len(read.ids), dtype=torch.long),
            pixel_values=read.pixels[None],
            image_sizes=torch.tensor([read.pixels.shape[1:]]),
            generation_config=GenerationConfig(
                max_new_tokens=TOKENS, do_sample=False, eos_token_id=END, pad_token_id=PAD
            ),
        )
    tokens = made[0, len(read.ids) :].tolist()
    return inputs.text(tokens), len(tokens)


@pytest.mark.parametrize("merge", [False, True], ids=["beside the weights", "merged into them"])
@pytest.mark.parametrize("rows", [1, 2, 8], ids=["one at a time", "rows taken by the next", "all at once"])
def test_captions_through_the_loop_are_those_of_peft_and_generate(
    merge: bool, rows: int, base: Path, adapter: Path, theirs: list[tuple[str, int]]
) -> None:
    config = CaptionConfig(
        checkpoint=str(base), adapter=str(adapter), merge_adapter=merge, max_new_tokens=TOKENS, batch_size=rows,
        device="cpu",
    )  # fmt: skip
    ours = pixtral.load(config)(mixed())
    assert [one.error for one in ours] == [None] * len(ours)
    assert [(one.text, one.completion_tokens) for one in ours] == theirs
    plain = pixtral.load(replace(config, adapter=None, merge_adapter=False))(mixed())
    assert all(one.text != other.text for one, other in zip(ours, plain, strict=True))


def test_the_captions_are_not_all_alike(theirs: list[tuple[str, int]]) -> None:
    """Or else the test above would show little."""
    assert len({text for text, _ in theirs}) == len(theirs)
    assert min(len(text) for text, _ in theirs) > 10
