"""Captions that keep to the grammar of their frame, token by token, and are whole when the token limit cuts them off.

llguidance says which tokens the grammar (tasks/tag_grammar.py) lets follow. What it cannot know is how much is left: a
caption that may write no more ends inside a tag. So no tag opens where less than a whole tag and ROOM is left, and one
that is still open when just enough is left to close it is closed, in the fewest tokens there are; near the very end
characters are completed, and a caption that has not said anything yet says a word.

The token that is liked best is asked about first: only where it is refused, the whole vocabulary is looked through.
And of a plain word among words (tag_grammar.PLAIN) nothing is asked: llguidance is told of it later.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from llguidance import LLMatcher

from storage.tables import Detection
from tasks import tag_grammar
from tasks.tag_grammar import Citable, citable, closing, opening
from tasks.token_vocabulary import Mask, Vocabulary, pending

ROOM = 16
"""Tokens that a tag gets beyond the fewest it needs, so that it is seldom closed before its words are said."""
GRAMMARS = 256
"""Compiled grammars that are kept, for frames with the same detections."""
WORDS = "it"
"""What is said in a tag that has to close and has no words yet."""
LEMMA = "be"
"""What is done in an action that has to close and names none yet."""
LONGEST_CHARACTER = 4
"""Tokens a character may need: one for each byte."""


class Grammars:
    """The grammars of frames, compiled for one vocabulary. May be asked from several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.compiled: OrderedDict[Citable, tuple[LLMatcher, int]] = OrderedDict()
        self.lock = threading.Lock()

    def limit(self, detections: Iterable[Detection]) -> "TokenLimit":
        """The limit of a caption about these; nothing is written yet."""
        objects = citable(detections)
        with self.lock:
            matcher, longest = self._compiled(objects)
            return TokenLimit(self.vocabulary, objects, matcher.deep_copy(), longest)

    def prepare(self, detections: Iterable[Detection]) -> None:
        """Compile what `limit` will need, so that it is there at once."""
        objects = citable(detections)
        with self.lock:
            self._compiled(objects)

    def _compiled(self, objects: Citable) -> tuple[LLMatcher, int]:
        if objects not in self.compiled:
            self.compiled[objects] = self._compile(objects)
            if len(self.compiled) > GRAMMARS:
                self.compiled.popitem(last=False)
        self.compiled.move_to_end(objects)
        return self.compiled[objects]

    def _compile(self, objects: Citable) -> tuple[LLMatcher, int]:
        """The matcher before the first token, and the most tokens that closing an open tag may take."""
        matcher = LLMatcher(self.vocabulary.grammar_tokenizer, tag_grammar.lark(objects), log_level=0)
        needed = [self.vocabulary.shortest(text.encode())[1] for text in _whole_tags(objects)]
        return matcher, max(needed, default=0) + LONGEST_CHARACTER - 1


def _whole_tags(objects: Citable) -> Iterator[str]:
    """Every way in which an open tag is closed is an end of one of these."""
    for label, ids in objects.labels:
        for one in ids:
            for kind in ("object", "location"):
                yield f'{opening(kind)}{label}" {one}>{WORDS}{closing(kind)}'
    for one in objects.things:
        yield f'{opening("action")}{LEMMA}" {one}>{WORDS}{closing("action")}'


class TokenLimit:
    """What one caption may go on with. Asked before a token is chosen, told afterwards."""

    def __init__(self, vocabulary: Vocabulary, objects: Citable, matcher: LLMatcher, longest: int) -> None:
        """`longest`: the most tokens that closing an open tag of this frame may take."""
        self.vocabulary, self.objects, self.matcher, self.longest = vocabulary, objects, matcher, longest
        self.tag = b""
        """The open tag so far, from its `<` on, but for plain words."""
        self.end = b""
        """The last bytes of the text, but for plain words."""
        self.among_words = True
        """Whether what is written now is running text, and the last character whole."""
        self.untold: list[int] = []
        """Plain words that the matcher has not been told of."""
        self.taken: int | None = None
        """The token that `take` has gone on with, and `accept` still has to hear of."""
        self.forced: list[int] = []
        """Tokens that have to follow."""
        self.error: str | None = None
        """Why the caption cannot go on; a fault of the grammar, never of the model."""

    def take(self, token: int, left: int) -> bool:
        """Go on with the token where it may come next, and say whether. `left`: how many may still be written, with it.

        Where it does, it has to be the one that `accept` is told of.
        """
        if self.among_words and left > self.longest + ROOM and self.vocabulary.plain[token]:
            self.untold.append(token)
            self.taken, self.end = token, b""
            return True
        choice = self._choice(left)
        if isinstance(choice, int):
            if token != choice:
                return False
        elif choice is not None and not choice[token]:
            return False
        self._tell()
        if self.matcher.try_consume_tokens([token]) != 1:
            return False
        self._read(token)
        self.taken = token
        return True

    def _tell(self) -> None:
        if self.untold and not self.matcher.consume_tokens(self.untold):
            self._fail("a plain word may not follow")
        self.untold = []

    def allowed(self, left: int) -> Mask:
        """(tokens,): what may come next. Where nothing may, that is an error, and the caption ends."""
        self._tell()
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
        self._tell()
        if taken is not None or not self.matcher.consume_token(token):
            self._fail(f"token {token} may not follow")
        else:
            self._read(token)

    def _fail(self, what: str) -> None:
        said = self.matcher.get_error().partition("\n")[0]
        self.error = f"the grammar of the frame does not let the caption go on: {what}. {said}".strip()

    def _read(self, token: int) -> None:
        written = self.vocabulary.tokens[token]
        if self.forced:
            self.forced.pop(0)
        self.end = (self.end + written)[-LONGEST_CHARACTER:]
        if self.tag or b"<" in written:
            self.tag = _open_tag(self.tag + written)
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
        for ending in self._endings():
            tokens = list(self.vocabulary.shortest(ending)[0])
            if self.matcher.validate_tokens(tokens) == len(tokens):
                return tokens
        self._fail(f"the tag {self.tag!r} cannot be closed")
        return [self.vocabulary.eos]

    def _endings(self) -> Iterator[bytes]:
        """What would close the open tag, what is best first."""
        for kind in ("object", "location", "action"):
            begin, end = opening(kind).encode(), closing(kind).encode()
            if not (self.tag.startswith(begin) or begin.startswith(self.tag)):
                continue
            second = self.tag.find(b"<", 1)
            if second >= 0:
                yield end[len(self.tag) - second :]
            elif b">" in self.tag:
                yield end
                yield WORDS.encode() + end
            else:
                for whole in self._openings(kind, begin):
                    yield whole + WORDS.encode() + end

    def _openings(self, kind: str, begin: bytes) -> Iterator[bytes]:
        """What would complete the opening tag. `begin` is what it begins with, up to its class."""
        missing, rest = begin[len(self.tag) :], self.tag[len(begin) :]
        label, quote, cited = rest.partition(b'"')
        if kind == "action":
            lemma = LEMMA.encode() if not label or label[-1:] in b" -" else b""
            named = [(label + lemma, self.objects.things)]
        else:
            named = [(one.encode(), ids) for one, ids in self.objects.labels]
        *done, begun = cited.split(b" ") if cited else [b""]
        for name, ids in named:
            if name == label if quote else name.startswith(label):
                for one in (one.encode() for one in ids):
                    if one not in done and one.startswith(begun):
                        blank = b"" if cited else b" "
                        quoted = b"" if quote else name[len(label) :] + b'"'
                        yield missing + quoted + blank + one[len(begun) :] + b">"


def _open_tag(text: bytes) -> bytes:
    """The tag that is open at the end of a text that begins with one, or with running text; from its `<` on."""
    while (start := text.find(b"<")) >= 0:
        second = text.find(b"<", start + 1)
        stop = text.find(b">", second) if second >= 0 else -1
        if stop < 0:
            return text[start:]
        text = text[stop + 1 :]
    return b""


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
