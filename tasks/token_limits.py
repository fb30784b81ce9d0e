"""Captions that keep to the grammar of their frame, token by token, and are whole when the token limit cuts them off.

llguidance says which tokens the grammar (tasks/tag_grammar.py) lets follow. What it cannot know is how much is left: a
caption that may write no more ends inside a tag. So no tag opens where less than a whole tag and ROOM is left, and one
that is still open when just enough is left to close it is closed, in the fewest tokens there are; near the very end
characters are completed, and a caption that has not said anything yet says a word.

The token that is liked best is asked about first: only where it is refused, the whole vocabulary is looked through.
And of what is seen to be good at a glance, plain words and the frame's own tags, llguidance is told only when it is
asked about something else; a caption that has nothing else needs no grammar compiled.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from llguidance import LLMatcher

from storage.tables import Detection
from tasks import tag_grammar
from tasks.open_tag import CLOSING, OPENING, begins_well, endings, open_tag, whole_tags
from tasks.tag_grammar import Citable, citable
from tasks.token_vocabulary import Mask, Vocabulary, pending

ROOM = 16
"""Tokens that a tag gets beyond the fewest it needs, so that it is seldom closed before its words are said."""
GRAMMARS = 256
"""Compiled grammars that are kept, for frames with the same detections."""
LONGEST_CHARACTER = 4
"""Tokens a character may need: one for each byte."""
_BEFORE = (b"g", b"G", b"d", b"D")
"""What may stand before letters that would make a word like a tag's name of it."""
_OPENING, _CLOSING = frozenset(OPENING.values()), frozenset(CLOSING.values())


class Grammars:
    """The grammars of frames, compiled for one vocabulary. May be asked from several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.compiled: OrderedDict[Citable, LLMatcher] = OrderedDict()
        self.lock = threading.Lock()

    def limit(self, detections: Iterable[Detection]) -> "TokenLimit":
        """The limit of a caption about these; nothing is written yet."""
        objects = citable(detections)
        needed = [self.vocabulary.shortest(tag)[1] for tag in whole_tags(objects)]
        longest = max(needed, default=0) + LONGEST_CHARACTER - 1
        return TokenLimit(self.vocabulary, objects, longest, lambda: self._matcher(objects))

    def _matcher(self, objects: Citable) -> LLMatcher:
        """The matcher before the first token, one of its own for each caption."""
        with self.lock:
            if objects not in self.compiled:
                self.compiled[objects] = LLMatcher(
                    self.vocabulary.grammar_tokenizer, tag_grammar.lark(objects), log_level=0
                )
                if len(self.compiled) > GRAMMARS:
                    self.compiled.popitem(last=False)
            self.compiled.move_to_end(objects)
            return self.compiled[objects].deep_copy()


class TokenLimit:
    """What one caption may go on with. Asked before a token is chosen, told afterwards."""

    def __init__(
        self, vocabulary: Vocabulary, objects: Citable, longest: int, compiled: Callable[[], LLMatcher]
    ) -> None:
        """`longest`: the most tokens that closing an open tag of this frame may take."""
        self.vocabulary, self.objects, self.longest, self.compiled = vocabulary, objects, longest, compiled
        self.held: LLMatcher | None = None
        self.tag = b""
        """The open tag so far, from its `<` on, but for plain words."""
        self.end = b""
        """The last bytes of the text."""
        self.said = self.said_inside = False
        """Whether the caption, and the open tag, surely have words."""
        self.among_words = True
        """Whether what is written now is running text, and the last character whole."""
        self.untold: list[int] = []
        """Tokens that the matcher has not been told of."""
        self.taken: int | None = None
        """The token that `take` has gone on with, and `accept` still has to hear of."""
        self.forced: list[int] = []
        """Tokens that have to follow."""
        self.error: str | None = None
        """Why the caption cannot go on; a fault of the grammar, never of the model."""

    @property
    def matcher(self) -> LLMatcher:
        """What llguidance knows of the caption so far."""
        if self.held is None:
            self.held = self.compiled()
        if self.untold and not self.held.consume_tokens(self.untold):
            self._fail("what was seen to be good may not follow")
        self.untold = []
        return self.held

    def take(self, token: int, left: int) -> bool:
        """Go on with the token where it may come next, and say whether. `left`: how many may still be written, with it.

        Where it does, it has to be the one that `accept` is told of.
        """
        if left > self.longest + ROOM and not self.forced and self._is_good(token):
            self.untold.append(token)
            self.taken = token
            return True
        choice = self._choice(left)
        if isinstance(choice, int):
            if token != choice:
                return False
        elif choice is not None and not choice[token]:
            return False
        if self.matcher.try_consume_tokens([token]) != 1:
            return False
        self._read(token)
        self.taken = token
        return True

    def _is_good(self, token: int) -> bool:
        """Whether the token may come next, seen at a glance; then it is read. False: it may, or not."""
        vocabulary = self.vocabulary
        written = vocabulary.tokens[token]
        if not self.among_words:
            if not self.tag or not written or not begins_well(tag := self.tag + written, self.objects):
                return False
            self.tag, self.end = tag, written
            self.among_words, self.said_inside = tag.endswith(b">"), False
            return True
        if vocabulary.plain[token] and not (vocabulary.goes_on[token] and self.end[-1:] in _BEFORE):
            if vocabulary.has_letter[token]:
                self.said = self.said_inside = True
        elif token == vocabulary.eos:
            return self.said and not self.tag
        elif not self.tag and (tag := written.lstrip(b" \n")) in _OPENING and begins_well(tag, self.objects):
            self.tag, self.among_words = tag, False
        elif self.tag and self.said_inside and written in _CLOSING and self.tag[:4] == b"<" + written[2:5]:
            self.tag = b""
        else:
            return False
        self.end = written
        return True

    def allowed(self, left: int) -> Mask:
        """(tokens,): what may come next. Where nothing may, that is an error, and the caption ends."""
        choice = self._choice(left)
        size = len(self.vocabulary.tokens)
        mask: Mask = np.zeros(size, dtype=np.bool_)
        if isinstance(choice, int):
            mask[choice] = True
            return mask
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        mask[:] = np.unpackbits(bits, count=size, bitorder="little")
        if choice is not None:
            mask &= choice
        if not mask.any():
            self._fail("nothing may follow")
            mask[self.vocabulary.eos] = True
        return mask

    def accept(self, token: int) -> None:
        """The token was chosen: the one that was taken, or where none was, one that is allowed."""
        taken, self.taken = self.taken, None
        if self.error is not None or token == taken:
            return
        if taken is not None or not self.matcher.consume_token(token):
            self._fail(f"token {token} may not follow")
        else:
            self._read(token)

    def _fail(self, what: str) -> None:
        said = self.held.get_error().partition("\n")[0] if self.held else ""
        self.error = f"the grammar of the frame does not let the caption go on: {what}. {said}".strip()

    def _read(self, token: int) -> None:
        written = self.vocabulary.tokens[token]
        if self.forced:
            self.forced.pop(0)
        self.end = (self.end + written)[-LONGEST_CHARACTER:]
        if self.tag or b"<" in written:
            self.tag = open_tag(self.tag + written)
            self.said_inside = False
        inside = b">" in self.tag and self.tag.count(b"<") == 1
        self.among_words = (inside or not self.tag) and not pending(self.end)

    def _choice(self, left: int) -> Mask | int | None:
        """The token that has to follow, or what the tokens are beside the grammar; None: anything."""
        if self.forced:
            return self.forced[0]
        if left > self.longest + ROOM:
            return None
        if not self.tag:
            return self._choice_outside(left)
        if left > self.longest:
            return self.vocabulary.opens_no_other(closing=self.tag.count(b"<") > 1)
        if b">" in self.tag and pending(self.end):
            return self.vocabulary.single
        self.forced = self._closing()
        return self.forced[0] if self.forced else None

    def _choice_outside(self, left: int) -> Mask:
        vocabulary = self.vocabulary
        if left > LONGEST_CHARACTER:
            return vocabulary.opens_no_other(closing=True)
        if pending(self.end):
            return vocabulary.single
        return vocabulary.whole if self.matcher.is_accepting() else vocabulary.wordy

    def _closing(self) -> list[int]:
        """The fewest tokens that close the open tag."""
        for ending in endings(self.tag, self.objects):
            tokens = list(self.vocabulary.shortest(ending)[0])
            if self.matcher.validate_tokens(tokens) == len(tokens):
                return tokens
        self._fail(f"the tag {self.tag!r} cannot be closed")
        return [self.vocabulary.eos]


def keep_to(limits: Sequence[TokenLimit], left: Sequence[int], scores: torch.Tensor) -> None:
    """Put minus infinity into scores (rows, tokens) until the best token of each row may come next.

    That token has to be chosen, and told to `accept`. `left`: how many tokens each row may still write, with this one.
    """
    best = scores.argmax(dim=-1).tolist()
    refused = [row for row, limit in enumerate(limits) if not limit.take(best[row], left[row])]
    if refused:
        allowed = torch.from_numpy(np.stack([limits[row].allowed(left[row]) for row in refused])).to(scores.device)
        rows = torch.tensor(refused, device=scores.device)
        scores[rows] = scores[rows].masked_fill(~allowed, float("-inf"))
