"""Captions -> judgements: a model at a server rates each caption that counts, by five criteria.

A caption is asked about once: its answer is in the store before the next ones are waited for, and what stands there is
kept as long as everything that was asked is the same (`asked_digest`). So a run that is killed goes on where it was.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.store import Output, Store, TableRef, captioners_of
from storage.tables import Caption, Detection, Frame, Judgement
from tasks.chat_answers import Conversation
from tasks.chat_server import RefusedError, say_offer, server_of
from tasks.counted_captions import Live, counted, live_files, words
from tasks.criteria import CRITERIA
from tasks.errors import ConfigError, StoreError, UnknownModelError, UnknownNameError
from tasks.frame_work import PictureError
from tasks.judge_questions import Answer, Asked, JudgeConfig, ask_about, prompt_hash, question
from tasks.raters import TABLE, kinds_of, shard_of_model, text_digest

VERSION = 1
"""Bump when the meaning of the output changes."""
STAGE = "judge"
UNFINISHED = "unfinished"
"""Among the inputs of a file in which captions are still missing: so it never counts as the finished one."""
IDENTITY = ("id", "root", "parent")
"""What a server says of a model that hangs on the model alone."""
NOTHING = "there is no caption to judge: it failed, or is quarantined."


@dataclass
class Judged:
    """How far a judge is."""

    captions: int = 0
    """Looked at so far."""
    asked: int = 0
    """Of them, answered in this run."""
    kept: int = 0
    """Of them, judged before."""
    failed: int = 0
    """Of all, asked about and without a score."""
    missing: int = 0
    """Of all, not asked about: there is no caption, or no picture."""


@dataclass
class _Sheet:
    """The judgements of one shard's captions, some of them still to come."""

    unfinished: Output
    finished: Output
    order: list[str]
    """caption_ids."""
    rows: dict[str, list[Judgement]] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def publish(self) -> None:
        """Put what there is into the store."""
        output = self.finished if len(self.rows) == len(self.order) else self.unfinished
        with output.writer() as write:
            for caption_id in self.order:
                for row in self.rows.get(caption_id, ()):
                    write(row)
            write.frames = len(self.rows)
            write.prompt_tokens, write.tokens = self.prompt_tokens, self.completion_tokens


@dataclass(frozen=True)
class _Task:
    """A caption to be asked about."""

    sheet: _Sheet
    caption: Caption
    asked: Asked


def judge_captions(
    captioners: Sequence[str],
    store: Store,
    config: JudgeConfig,
    *,
    retry_failed: bool = False,
    tell: Callable[[Judged], None] = lambda judged: None,
) -> Judged:
    """Judge the captions that count of some captioners: five rows for each.

    What is judged already is not asked about again, those without a score only with `retry_failed`. `tell` hears how
    far it is. A caption about which the server gives no answer in the right form, in several tries, has rows with that
    error; so has one that failed or is quarantined, without being asked about. Raises UnknownModelError for a model
    that the server does not have, UnknownNameError for such a captioner, TransientError when the server does not answer
    (what is answered is in the store then), StoreError when there is nothing to judge, ConfigError when a person rates
    under the judge's name.
    """
    if not captioners:
        raise StoreError(f"{store.location} holds no captions to judge. Fill it with `caption-movies run`.")
    server = server_of(config.server)
    model = _model(server.models(), config)
    _check_name(config.rater, store)
    judged = Judged()
    conversation: Conversation[_Task, Answer] = Conversation(server)
    asking = _Asking(store, config, model, judged, conversation, retry_failed)
    tasks = (task for captioner in captioners for task in asking.tasks(captioner))
    for answers in conversation.answers(tasks, lambda task, given_up: question(task.asked, config, given_up)):
        touched: dict[int, _Sheet] = {}
        for task, answer in answers:
            asking.take(task, answer)
            touched[id(task.sheet)] = task.sheet
        for sheet in touched.values():
            sheet.publish()
        tell(judged)
    return judged


def _model(models: dict[str, dict[str, Any]], config: JudgeConfig) -> dict[str, str]:
    """What is known of the model that is asked."""
    if config.model not in models:
        raise UnknownModelError("the server", config.model, f". {say_offer(models)}")
    said = models[config.model]
    return {f"judge {key}": value for key in IDENTITY if isinstance(value := said.get(key), str) and value}


def _check_name(rater: str, store: Store) -> None:
    if "person" in kinds_of(rater, store):
        raise ConfigError(f"{rater!r} is the name of a person who rated captions. Give the judge another: --rater.")


@dataclass
class _Asking:
    """One run of a judge: what is to be asked, and what came of it."""

    store: Store
    config: JudgeConfig
    model: dict[str, str]
    judged: Judged
    conversation: Conversation[_Task, Answer]
    retry_failed: bool

    def tasks(self, captioner: str) -> Iterator[_Task]:
        """What there is to ask about a captioner, shard by shard; a shard without a question is finished at once."""
        live = live_files(captioner, self.store)
        if not live.captions:
            raise UnknownNameError("captioner", captioner, captioners_of(self.store))
        for ref in live.captions:
            yield from self._shard(ref, live)

    def _shard(self, ref: TableRef, live: Live) -> Iterator[_Task]:
        frames, detections = (self._beside(ref, table) for table in ("frames", "detections"))
        made_beside = [made[ref.shard] for made in (live.mended, live.choices) if ref.shard in made]
        sheet = self._sheet(ref, [one.fingerprint for one in (ref, *made_beside, frames, detections)])
        known = self._known(sheet)
        if sheet.finished.is_current() and not (self.retry_failed and any(map(_failed, known.values()))):
            for rows in known.values():
                self._count(rows, kept=True)
            return
        pictures = {frame.frame_id: frame for frame in self.store.read(frames, Frame, batch_size=32)}
        found = defaultdict(list)
        for detection in self.store.read(detections, Detection):
            found[detection.frame_id].append(detection)
        tasks = []
        captions = list(counted(ref, live, self.store))
        sheet.order = [caption.caption_id for caption in captions]
        for caption in captions:
            if caption.frame_id not in pictures:
                raise StoreError(f"frame {caption.frame_id} is gone from {self.store.location}. Extract it again.")
            task = self._task(sheet, caption, pictures[caption.frame_id], found[caption.frame_id], known)
            tasks += [task] if task else []
        if not tasks:
            sheet.publish()
        yield from tasks

    def _beside(self, ref: TableRef, table: str) -> TableRef:
        if (there := self.store.ref(table, ref.shard)) is None:
            raise StoreError(f"the {table} of {ref.shard} are gone from {self.store.location}. Run again to make them.")
        return there

    def _sheet(self, ref: TableRef, inputs: list[str]) -> _Sheet:
        def output(*more: str) -> Output:
            return self.store.output(
                [Judgement],
                stage=STAGE,
                shard=shard_of_model(self.config.rater, ref.shard),
                inputs=[*inputs, *more],
                config=self.config,
                version=VERSION,
                weights={**self.model, "prompt": prompt_hash(self.config.prompt)},
                captioner=ref.captioner,
                may_vary=True,
            )

        return _Sheet(output(UNFINISHED), output(), [])

    def _known(self, sheet: _Sheet) -> dict[str, list[Judgement]]:
        """The rows that stand there, by caption, whatever they were made of. A damaged or older file has none."""
        rows = defaultdict(list)
        try:
            ref = self.store.ref(TABLE, sheet.finished.shard, sheet.finished.captioner)
            for row in self.store.read(ref, Judgement) if ref else ():
                rows[row.caption_id].append(row)
        except StoreError:
            return {}
        return rows

    def _task(
        self,
        sheet: _Sheet,
        caption: Caption,
        frame: Frame,
        detections: Sequence[Detection],
        known: Mapping[str, list[Judgement]],
    ) -> _Task | None:
        """What is to be asked about a caption; nothing where it is judged already, or cannot be."""
        try:
            asked = ask_about(caption, frame, detections, self.config, self.model) if words(caption) else None
            error = None if asked else NOTHING
        except PictureError as problem:
            asked, error = None, str(problem)
        if asked is None:
            sheet.rows[caption.caption_id] = self._rows(caption, None, error)
            self._count(sheet.rows[caption.caption_id])
            return None
        rows = known.get(caption.caption_id, [])
        if {row.asked_digest for row in rows} != {asked.digest} or (self.retry_failed and _failed(rows)):
            return _Task(sheet, caption, asked)
        sheet.rows[caption.caption_id] = rows
        self._count(rows, kept=True)
        return None

    def take(self, task: _Task, answer: Answer | RefusedError) -> None:
        """Note an answer in its shard."""
        caption, sheet = task.caption, task.sheet
        sheet.rows[caption.caption_id] = rows = self._rows(caption, task.asked, answer)
        if isinstance(answer, Answer):
            sheet.prompt_tokens += answer.prompt_tokens
            sheet.completion_tokens += answer.completion_tokens
        self._count(rows)

    def _rows(
        self, caption: Caption, asked: Asked | None, answer: Answer | RefusedError | str | None
    ) -> list[Judgement]:
        opinions = answer.opinions if isinstance(answer, Answer) else {}
        # a server's words may hold half a character, which cannot be written down
        error = None if isinstance(answer, Answer) else str(answer).encode(errors="backslashreplace").decode()
        return [
            Judgement(
                caption_id=caption.caption_id,
                rater=self.config.rater,
                rater_kind="model",
                criterion=criterion,
                score=float(opinions[criterion].score) if opinions else None,
                reason=opinions[criterion].reason if opinions else None,
                error=error,
                text_digest=text_digest(caption.text),
                model=self.config.model,
                prompt=self.config.prompt,
                prompt_hash=prompt_hash(self.config.prompt),
                asked_digest=asked.digest if asked else None,
            )
            for criterion in CRITERIA
        ]

    def _count(self, rows: Sequence[Judgement], *, kept: bool = False) -> None:
        judged, asked = self.judged, rows[0].asked_digest is not None
        judged.captions += 1
        judged.asked += asked and not kept
        judged.kept += asked and kept
        judged.failed += _failed(rows)
        judged.missing += not asked
        self.conversation.answered |= rows[0].score is not None


def _failed(rows: Sequence[Judgement]) -> bool:
    """Whether a caption was asked about, and no score came of it."""
    return any(row.error is not None and row.asked_digest is not None for row in rows)
