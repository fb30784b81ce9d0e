"""What each token of a byte-level tokenizer writes, and the shortest way to write a text."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from tasks.errors import CheckpointError
from tasks.tag_grammar import PLAIN

Mask = NDArray[np.bool_]
"""(tokens,): which of them."""


class Vocabulary:
    """The tokens of a tokenizer, as bytes."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        """Of a fast transformers tokenizer; `size` is the model's, which may be larger: those tokens write nothing.

        Raises CheckpointError for a tokenizer that is not byte-level, or cannot write some byte alone.
        """
        self.eos: int = tokenizer.eos_token_id
        self.tokens: list[bytes] = [b""] * size
        self.silent = np.ones(size, dtype=np.bool_)
        """Control words and places without a token: no text may contain them."""
        for token, written in _written(tokenizer):
            self.tokens[token], self.silent[token] = written, False
        self.ids: dict[bytes, int] = {}
        for token, written in enumerate(self.tokens):
            if written and len(written) <= LONGEST:
                self.ids.setdefault(written, token)
        missing = [byte for byte in range(0xF5) if bytes([byte]) not in self.ids and byte not in (0xC0, 0xC1)]
        if missing:
            raise CheckpointError(
                f"the tokenizer cannot write byte {missing[0]:#x} alone: no caption can be constrained."
            )
        self.shortest: Callable[[bytes], tuple[tuple[int, ...], int]] = lru_cache(maxsize=8192)(self._shortest)

    @cached_property
    def grammar_tokenizer(self) -> LLTokenizer:
        """The tokens as llguidance wants them. Its own reading of a tokenizer takes `</gdo>` for a control word."""
        return LLTokenizer(TokenizerWrapper(_ForLlguidance(self)), n_vocab=len(self.tokens))

    def which(self, holds: Callable[[bytes], bool]) -> Mask:
        """The tokens whose bytes have a property; never a silent one."""
        return np.array([bool(written) and holds(written) for written in self.tokens], dtype=np.bool_)

    def opens_no_other(self, *, closing: bool) -> Mask:
        """Tokens with at most one `<`, with which an open tag is closed; where it is closed, or closing, with none."""
        return self._without_bracket if closing else self._with_one_bracket

    @cached_property
    def _without_bracket(self) -> Mask:
        return ~self.which(lambda written: b"<" in written)

    @cached_property
    def _with_one_bracket(self) -> Mask:
        return ~self.which(lambda written: written.count(b"<") > 1)

    @cached_property
    def plain(self) -> list[bool]:
        """By token: whether it may follow anything in running text, but for what `goes_on` says."""
        return [bool(PLAIN.fullmatch(written)) for written in self.tokens]

    @cached_property
    def goes_on(self) -> list[bool]:
        """By token: whether its first letter may make a tag's name of a `g` or `gd` before it."""
        return [written[:1] in _OF_NAMES for written in self.tokens]

    @cached_property
    def has_letter(self) -> list[bool]:
        """By token: whether it has a letter of ASCII's."""
        return [any(byte < 0x80 and chr(byte).isalpha() for byte in written) for written in self.tokens]

    @cached_property
    def single(self) -> Mask:
        """Tokens of one byte."""
        return self.which(lambda written: len(written) == 1)

    @cached_property
    def whole(self) -> Mask:
        """Tokens of whole characters without `<`, and the end."""
        whole = self._without_bracket & self.which(lambda written: not pending(written) and not _goes_on(written[0]))
        whole[self.eos] = True
        return whole

    @cached_property
    def wordy(self) -> Mask:
        """Tokens of ASCII letters only, but for a blank before."""
        return self.which(lambda written: written.removeprefix(b" ").isalpha() and written.isascii())

    def _shortest(self, text: bytes) -> tuple[tuple[int, ...], int]:
        """(the fewest tokens that write the text, the most that any end of the text needs)."""
        needed, first = [0] * (len(text) + 1), [0] * len(text)
        for start in reversed(range(len(text))):
            ends = range(start + 1, min(start + LONGEST, len(text)) + 1)
            found = [(needed[end], -end, self.ids[text[start:end]]) for end in ends if text[start:end] in self.ids]
            rest, _, first[start] = min(found)
            needed[start] = rest + 1
        tokens, place = [], 0
        while place < len(text):
            tokens.append(first[place])
            place += len(self.tokens[first[place]])
        return tuple(tokens), max(needed)


_OF_NAMES = frozenset(bytes([byte]) for byte in b"dDoOaAlL")
LONGEST = 32
"""Bytes of a token that is looked for when a text is written in as few tokens as can be."""


def pending(written: bytes) -> int:
    """Bytes that are missing of the last character, UTF-8."""
    for back, byte in enumerate(reversed(written[-3:]), 1):
        if byte >= 0xC0:
            return max(0, (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) - back)
        if byte < 0x80:
            return 0
    return 0


def _goes_on(byte: int) -> bool:
    """Whether a byte goes on with a character that another one began."""
    return 0x80 <= byte < 0xC0


def _written(tokenizer: Any) -> Iterator[tuple[int, bytes]]:
    """Token and bytes of all that is not a control word."""
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
    if decoder.get("type") != "ByteLevel":
        raise CheckpointError("the tokenizer is not byte-level: no caption can be constrained with it.")
    added = tokenizer.added_tokens_decoder
    for token, word in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        if token not in added:
            yield token, bytes(_BYTES[character] for character in word)
        elif not added[token].special:
            yield token, added[token].content.encode()


def _byte_characters() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes as: the visible ones stand for themselves."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_characters()


class _ForLlguidance:
    """What llguidance asks of a tokenizer. Texts it never has to cut."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos
        self.tokens = vocabulary.tokens
        self.special_token_ids = [int(token) for token in np.flatnonzero(vocabulary.silent)]
        self.shortest = vocabulary.shortest

    def __call__(self, text: bytes) -> list[int]:
        """The tokens of a text."""
        return list(self.shortest(text)[0])
