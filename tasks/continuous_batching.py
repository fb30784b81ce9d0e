"""Writing many captions at once: a caption that has ended leaves the batch, and a waiting prompt takes its place.

The order of events hangs on the prompts alone, never on time: a free row waits for the next prompt rather than being
left out. The rows in work are always the first of the cache; when one leaves, the last one is moved to its place.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from tasks.accelerator import device_errors
from tasks.mistral_layers import Cache, Prefix, read_prompts, read_tokens
from tasks.token_choice import choose

PROMPT_TOKENS = 8192
"""Tokens of prompts, padding included, that are read at once; a longer prompt is read alone."""

Embed = Callable[[Sequence["Prompt"], int], Tensor]
"""(prompts, start) -> their embeddings (b, t, d) from token `start` on, padded on the right."""

log = logging.getLogger(__name__)


class Limit(Protocol):
    """What one caption may go on with; tasks/token_limits.py."""

    error: str | None
    """Why it cannot go on."""

    def accept(self, token: int) -> None:
        """The token was chosen."""


KeepTo = Callable[[Sequence[Any], Sequence[int], Tensor], None]
"""(limits, tokens each row may still write, scores (rows, vocabulary)): puts minus infinity on what may not follow."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A caption that is wanted."""

    ids: Sequence[int]
    source: Any
    """What it was made of. Prompts that have the same object here are the same, and read once."""
    seed: int
    asked: Any
    """Whoever asked finds the answer by it."""
    limit: Callable[[], Limit] | None = None
    """Makes what says which tokens may follow; None: all may."""


@dataclass(eq=False)
class Row:
    """A caption in work."""

    prompt: Prompt
    number: int
    """The prompt's place among all, from 0."""
    generator: torch.Generator
    after_prompt: Tensor
    """(d) the hidden state from which the first token is chosen."""
    length: int
    """Tokens in the cache."""
    limit: Limit | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Natural, of the tokens, under the model as it is."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How captions are written."""

    rows: int
    """Captions in work at once."""
    max_new_tokens: int
    temperature: float
    top_p: float
    end: int
    """The token after which nothing comes."""
    keep_to: KeepTo | None = None
    """Needed where prompts have limits."""


class ContinuousBatch:
    """Captions in work."""

    def __init__(
        self, model: Any, settings: Settings, prefix: Prefix, embed: Embed, lock: AbstractContextManager[Any]
    ) -> None:
        """For a LlavaForConditionalGeneration. `lock` is held in every step, and not between them."""
        self.model, self.text, self.lock = model, model.model.language_model, lock
        self.settings, self.prefix, self.embed = settings, prefix, embed
        self.most = settings.rows
        self.drawn = 0
        self._start_anew()

    def _start_anew(self) -> None:
        self.rows: list[Row] = []
        self.cache = Cache(self.text)
        self.hidden: Tensor | None = None  # (rows, d) from which each row's next token is chosen

    def write(self, prompts: Iterator[Prompt]) -> Iterator[Row]:
        """The captions of all prompts, each as it is finished.

        When memory does not suffice, those in work begin anew, half as many at once; raises MemoryError where one alone
        does not fit, TransientError when the device is lost, and what `prompts` raises.
        """
        waiting: deque[tuple[int, Prompt]] = deque()  # with their numbers
        finished: list[Row] = []
        while True:
            group = self._draw(waiting, prompts)
            together = len(self.rows) + len(group)
            if not together:
                return
            try:
                with self.lock, device_errors(), torch.inference_mode():
                    self._step(group, finished)
            except MemoryError:
                if together == 1:
                    raise
                self._halve(together, group, finished, waiting)
            yield from finished
            finished.clear()

    def _draw(self, waiting: deque[tuple[int, Prompt]], prompts: Iterator[Prompt]) -> list[tuple[int, Prompt]]:
        """The next prompts for the rows that are free, as many as may be read at once."""
        group: list[tuple[int, Prompt]] = []
        longest = 0
        while len(self.rows) + len(group) < self.most:
            if not waiting:
                prompt = next(prompts, None)
                if prompt is None:
                    break
                waiting.append((self.drawn, prompt))
                self.drawn += 1
            longest = max(longest, len(waiting[0][1].ids))
            if group and longest * (len(group) + 1) > PROMPT_TOKENS:
                break
            group.append(waiting.popleft())
        return group

    def _halve(
        self, together: int, group: list[tuple[int, Prompt]], finished: list[Row], waiting: deque[tuple[int, Prompt]]
    ) -> None:
        begun = {row.number for row in (*self.rows, *finished)}
        unfinished = [(row.number, row.prompt) for row in self.rows] + [one for one in group if one[0] not in begun]
        waiting.extendleft(sorted(unfinished, key=lambda one: one[0], reverse=True))
        self.most = together // 2
        log.warning("memory does not suffice for %d captions at once; going on with %d", together, self.most)
        self._start_anew()

    def _step(self, group: list[tuple[int, Prompt]], finished: list[Row]) -> None:
        """Read the group's prompts, choose a token for every row, let finished rows leave, read the others' tokens."""
        if group:
            self._read(group)
        assert self.hidden is not None
        self._choose(self.model.lm_head(self.hidden))
        for index in reversed(range(len(self.rows))):
            if self._has_ended(self.rows[index]):
                finished.append(self._leave(index))
        if self.rows:
            last, lengths = [row.tokens[-1] for row in self.rows], [row.length for row in self.rows]
            self.hidden = read_tokens(self.text, last, lengths, self.cache)
            for row in self.rows:
                row.length += 1
        else:
            self.hidden = None

    def _choose(self, scores: Tensor) -> None:
        """One token for every row, from scores (rows, vocabulary)."""
        settings, limit = self.settings, None
        if settings.keep_to is not None:
            left = [settings.max_new_tokens - len(row.tokens) for row in self.rows]
            limit = partial(settings.keep_to, [row.limit for row in self.rows], left)
        generators = [row.generator for row in self.rows]
        tokens, logprobs = choose(scores, generators, settings.temperature, settings.top_p, limit)
        # One transfer from the device; double holds any token and any log-probability.
        chosen = torch.stack((tokens.double(), logprobs.double())).tolist()
        for row, token, logprob in zip(self.rows, *chosen, strict=True):
            row.tokens.append(int(token))
            row.logprobs.append(logprob)
            if row.limit is not None and math.isfinite(logprob):
                row.limit.accept(int(token))

    def _has_ended(self, row: Row) -> bool:
        if row.tokens[-1] == self.settings.end or len(row.tokens) == self.settings.max_new_tokens:
            return True
        return not math.isfinite(row.logprobs[-1]) or (row.limit is not None and row.limit.error is not None)

    def _leave(self, index: int) -> Row:
        """Take a row out, and put the last one in its place."""
        row, last = self.rows[index], self.rows.pop()
        if not math.isfinite(row.logprobs[-1]):
            self.cache.clear_row(index)
        if row is not last:
            self.cache.copy_row(len(self.rows), index, last.length)
            self.rows[index] = last
        return row

    def _read(self, group: list[tuple[int, Prompt]]) -> None:
        """Give the group rows behind those in work: prompts that are the same are read once and copied."""
        self.cache.make_room(len(self.rows) + len(group), 0)
        known = {id(row.prompt.source) for row in self.rows}
        fresh: dict[bool, list[tuple[int, Prompt]]] = {True: [], False: []}
        again = []
        for one in group:
            if id(one[1].source) in known:
                again.append(one)
                continue
            known.add(id(one[1].source))
            fresh[tuple(one[1].ids[: len(self.prefix.ids)]) == self.prefix.ids].append(one)
        for begins, some in fresh.items():
            if some:
                self._read_fresh(some, self.prefix if begins else Prefix(()))
        places = {id(row.prompt.source): index for index, row in enumerate(self.rows)}
        for one in again:
            self._read_again(one, places[id(one[1].source)])

    def _read_fresh(self, group: list[tuple[int, Prompt]], prefix: Prefix) -> None:
        prompts = [prompt for _, prompt in group]
        embeddings = self.embed(prompts, len(prefix.ids))
        lengths = [len(prompt.ids) for prompt in prompts]
        hidden = read_prompts(self.text, embeddings, lengths, self.cache, len(self.rows), prefix)
        for (number, prompt), state in zip(group, hidden, strict=True):
            self._enter(number, prompt, state)

    def _read_again(self, one: tuple[int, Prompt], source: int) -> None:
        number, prompt = one
        self.cache.copy_row(source, len(self.rows), len(prompt.ids))
        self._enter(number, prompt, self.rows[source].after_prompt)

    def _enter(self, number: int, prompt: Prompt, state: Tensor) -> None:
        generator = torch.Generator(device=state.device).manual_seed(prompt.seed)
        limit = prompt.limit() if prompt.limit else None
        self.rows.append(Row(prompt, number, generator, state, len(prompt.ids), limit))
        state = state[None]
        self.hidden = state if self.hidden is None else torch.cat((self.hidden, state))
