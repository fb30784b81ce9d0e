"""Prompts and pictures as Pixtral reads them: against Mistral's own encoder and transformers' processor."""

from pathlib import Path

import numpy as np
import pytest
from test_prompts import card_detections

from tasks import prompts, tags
from tasks.pixtral_inputs import PixtralInputs, control_ids
from toyworld.tiny_captioner import build_tiny_captioner, tag_pieces


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> PixtralInputs:
    return PixtralInputs(build_tiny_captioner(tmp_path_factory.mktemp("tiny")))


@pytest.mark.parametrize(
    ("width", "height", "tokens"), [(426, 240, 420), (1920, 1080, 2340), (16, 16, 2), (1, 1, 2), (1024, 1024, 4160)]
)
def test_image_tokens_are_as_many_as_pixtral_has(inputs: PixtralInputs, width: int, height: int, tokens: int) -> None:
    rows_, columns = inputs.patches(height, width)
    ids = inputs.image_ids(rows_, columns)
    assert len(ids) == tokens == (columns + 1) * rows_
    assert ids.count(10) == rows_ * columns
    assert ids.count(12) == rows_ - 1
    assert ids[-1] == 13


def test_image_tokens_are_the_stock_processors(inputs: PixtralInputs) -> None:
    """Its expansion is text; the rule itself is called unbound."""
    pytest.importorskip("torchvision", reason="transformers' PixtralProcessor does not import without torchvision")
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor

    class Rule:
        patch_size, spatial_merge_size = 16, 1
        image_token, image_break_token, image_end_token = "[IMG]", "[IMG_BREAK]", "[IMG_END]"

    for height, width in [(240, 426), (33, 17), (1080, 1920), (2000, 400)]:
        pixels = inputs.pictures([np.zeros((height, width, 3), np.uint8)], return_tensors="np", do_pad=False)
        text = PixtralProcessor.replace_image_token(Rule(), {"image_sizes": [pixels["image_sizes"][0]]}, 0)  # type: ignore[arg-type]
        prompt = prompts.render("groundcap-card", card_detections())
        stock = inputs.tokenizer(prompt.replace("[IMG]", text), add_special_tokens=False)["input_ids"]
        read = inputs(prompt, np.zeros((height, width, 3), np.uint8))
        assert read.ids == stock
        assert tuple(read.pixels.shape[1:]) == tuple(pixels["image_sizes"][0])


def test_the_real_vocabulary_reads_prompt_and_tags(inputs: PixtralInputs) -> None:
    """Pixtral's 131,072 words, and Mistral's own request encoder beside our rendering."""
    import mistral_common as common
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from PIL import Image
    from transformers.integrations.mistral import convert_tekken_tokenizer

    vocabulary = str(Path(common.__file__).parent / "data" / "tekken_240911.json")
    real = object.__new__(PixtralInputs)
    real.tokenizer = convert_tekken_tokenizer(vocabulary, chat_template="")
    real.image_id, real.break_id, real.end_id = control_ids(real.tokenizer)
    assert (real.image_id, real.break_id, real.end_id) == (10, 12, 13)
    # Mistral's encoder puts the picture first, as our groundcap-story does.
    words = prompts.TEMPLATES["groundcap-story"]
    text = words.user.format(detections=prompts.render_detections(card_detections())).removeprefix("[IMG]")
    encoder = MistralTokenizer.from_file(vocabulary)
    for width, height in [(426, 240), (1920, 1080), (33, 17), (16, 16)]:
        picture = ImageChunk(image=Image.new("RGB", (width, height)))
        turns = [SystemMessage(content=words.system), UserMessage(content=[picture, TextChunk(text=text)])]
        theirs = encoder.encode_chat_completion(ChatCompletionRequest(messages=turns)).tokens
        ours = real.ids(prompts.render("groundcap-story", card_detections()), *inputs.patches(height, width))
        assert ours == theirs
    man, wall = (
        tags.render("object", "person", ["person-0"], "thé man"),
        tags.render("location", "wall", ["wall-1"], "é"),
    )
    caption = f"{man}  {wall}"
    ids = real.tokenizer(caption, add_special_tokens=False)["input_ids"]
    assert real.text([*ids, 2]) == caption


def test_tags_are_words_of_the_tiny_tokenizer_and_stay_in_the_text(inputs: PixtralInputs) -> None:
    vocabulary = inputs.tokenizer.get_vocab()
    assert all(piece in vocabulary for piece in tag_pieces())
    caption = f"  {tags.render('object', 'person', ['person-0'], 'the man')} , he said ."
    ids = inputs.tokenizer(caption, add_special_tokens=False)["input_ids"]
    assert inputs.text([*ids, 2]) == caption
    assert [vocabulary[word] for word in ("<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "<pad>")] == [1, 2, 3, 4, 10, 11]
