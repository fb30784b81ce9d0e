"""Plain captions, without tags: what the captioners of the BLIP family share.

They look at the picture alone, and go on from the words of a template that lists no detections; those words are not
part of the caption. transformers' `generate` writes; what its result may hang on is ours: settings, a row's own random
numbers, and log-probabilities under the model as it is, which are read once more from the finished captions.
"""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from tasks import prompts
from tasks.accelerator import device_errors
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult
from tasks.errors import CheckpointError
from tasks.token_choice import choose

SETTINGS: Any = GenerationConfig


@dataclass(frozen=True, eq=False)
class Question:
    """Rows of pictures and words, as the part of a model that writes takes them."""

    writer: Any
    """The module whose `generate` is called."""
    inputs: dict[str, Any]
    """With these."""
    begun: int
    """Tokens that its result begins with and that are not of the caption."""
    scores: Callable[[Tensor], Tensor]
    """Tokens (rows, t) of captions to the scores (rows, t, vocabulary) from which each was chosen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model of the family on its device, ready to be asked."""

    ask: Callable[[Tensor, Tensor], Question]
    """Pixels (rows, 3, side, side), and tokens of the prompt (rows, t), image tokens not."""
    before: tuple[int, ...] = ()
    """Tokens that stand before a prompt's words."""
    after: tuple[int, ...] = ()
    """And after them."""
    image_tokens: int = 0
    """Of a picture, in the prompt."""
    start: int | None = None
    """The decoder's first token, where it does not go on from the prompt."""
    ends: tuple[int, ...]
    """Tokens after which nothing comes."""
    pad: int
    most_tokens: int | None = None
    """Of prompt and caption together; None where there is no limit."""


class Inputs:
    """The tokenizer and picture processor of a checkpoint's folder."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError when one of them is not there."""
        if not (folder / "tokenizer.json").exists():
            raise CheckpointError(f"{folder} has no tokenizer.json. Save the checkpoint's fast tokenizer into it.")
        kinds: tuple[Any, Any] = PreTrainedTokenizerFast, BlipImageProcessorPil  # works without torchvision too
        try:
            self.tokenizer, self.pictures = (kind.from_pretrained(folder, local_files_only=True) for kind in kinds)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder}: tokenizer or picture processor cannot be read: {error}") from error
        self.folder = folder

    def check(self, side_px: int, vocabulary: int) -> None:
        """Raises CheckpointError unless pictures are as large, and words as few, as the model has it."""
        size = self.pictures.size
        if (size["height"], size["width"]) != (side_px, side_px):
            raise CheckpointError(
                f"{self.folder}: the picture processor makes {size['width']} x {size['height']} pixels of a picture, "
                f"the model reads {side_px} x {side_px}."
            )
        if len(self.tokenizer) > vocabulary:
            words = len(self.tokenizer)
            raise CheckpointError(f"{self.folder}: the tokenizer has more words than the model ({words}).")

    def ids(self, words: str) -> list[int]:
        """Tokens of words alone."""
        ids: list[int] = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    def pixels(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(rows, 3, side, side) float32, normalised, of RGB pictures (height, width, 3) of any size."""
        read = self.pictures(list(images), return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = read["pixel_values"]
        return pixels

    def text(self, ids: Sequence[int]) -> str:
        """A completion as text, without control words and outer blanks."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model on its device, with what it reads through. One thread at a time."""

    model: Model
    inputs: Inputs
    device: torch.device
    dtype: torch.dtype
    notes: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)


class PlainCaptioner:
    """A model of the family with one set of settings."""

    def __init__(self, loaded: Loaded, config: CaptionConfig) -> None:
        self.loaded, self.config = loaded, config

    @property
    def notes(self) -> dict[str, Any]:
        """Number format and device, and what the adapter changed."""
        return dict(self.loaded.notes)

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order; see the protocol. Requests with the same words are written together."""
        results: dict[int, CaptionResult] = {}
        alike: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            try:
                alike[prompts.plain_words(request.prompt)].append(index)
            except ValueError as error:
                results[index] = CaptionResult(error=str(error))
        for words, indices in alike.items():
            written = self._write(words, [requests[index] for index in indices])
            results |= dict(zip(indices, written, strict=True))
        return [results[index] for index in range(len(requests))]

    def _write(self, words: str, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        loaded, model = self.loaded, self.loaded.model
        ids = [*model.before, *loaded.inputs.ids(words), *model.after]
        longest = len(ids) + model.image_tokens + self.config.max_new_tokens
        if model.most_tokens is not None and longest > model.most_tokens:
            error = f"{longest} tokens of prompt and caption are more than the model's {model.most_tokens}."
            return [CaptionResult(error=f"{error} Lower max_new_tokens.") for _ in requests]
        pixels = loaded.inputs.pixels([request.image for request in requests])
        with loaded.lock, device_errors(), torch.inference_mode():
            asked = torch.tensor([ids] * len(requests), device=loaded.device)
            question = model.ask(pixels.to(loaded.device, loaded.dtype), asked)
            tokens = self._generate(question, [request.seed for request in requests])
            logprobs = torch.log_softmax(question.scores(tokens).float(), dim=-1)
            chosen = logprobs.gather(-1, tokens[..., None]).squeeze(-1).tolist()
        prompt_tokens = len(ids) + model.image_tokens
        return [self._result(*row, prompt_tokens) for row in zip(tokens.tolist(), chosen, strict=True)]

    def _generate(self, question: Question, seeds: Sequence[int]) -> Tensor:
        """(rows, t) tokens of captions; what stands after a caption's end means nothing."""
        model, config = self.loaded.model, self.config
        settings = SETTINGS(
            max_new_tokens=config.max_new_tokens, num_beams=config.num_beams, do_sample=False,
            eos_token_id=list(model.ends), pad_token_id=model.pad, decoder_start_token_id=model.start,
        )  # fmt: skip
        draws = LogitsProcessorList([_Draw(seeds, config, self.loaded.device)] if config.temperature > 0 else [])
        made: Tensor = question.writer.generate(**question.inputs, generation_config=settings, logits_processor=draws)
        return made[:, question.begun :]

    def _result(self, tokens: list[int], logprobs: list[float], prompt_tokens: int) -> CaptionResult:
        model = self.loaded.model
        last = next((place for place, token in enumerate(tokens) if token in model.ends), len(tokens) - 1)
        length = last + 1
        mean_logprob = math.fsum(logprobs[:length]) / length
        if not math.isfinite(mean_logprob):
            error = 'the model\'s output is not a number. Try dtype = "float32".'
            return CaptionResult(prompt_tokens=prompt_tokens, completion_tokens=length, error=error)
        ended = tokens[last] in model.ends
        return CaptionResult(
            prompt_tokens=prompt_tokens,
            completion_tokens=length,
            text=self.loaded.inputs.text(tokens[: length - ended]),
            finish_reason="stop" if ended else "length",
            mean_logprob=mean_logprob,
        )


class _Draw:
    """Draws each row's next token from the row's own random numbers: what is greedy about `generate` then takes it."""

    def __init__(self, seeds: Sequence[int], config: CaptionConfig, device: torch.device) -> None:
        self.generators = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]
        self.config = config

    def __call__(self, _ids: Tensor, scores: Tensor) -> Tensor:
        """Minus infinity for all tokens (rows, vocabulary) but the one that was drawn."""
        tokens, _ = choose(scores, self.generators, self.config.temperature, self.config.top_p)
        return torch.full_like(scores, float("-inf")).scatter(1, tokens[:, None], 0.0)
