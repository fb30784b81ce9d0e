"""Captions, their verdicts -> choices: of all captions of a frame, the one that counts.

Clean captions come first, then those at fault, the fewest violations first, then those that failed; among equals the
selector's value decides, then the captioner's own order: first answers before what was made to replace them.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from storage.store import MENDING, Store, TableRef, path_of
from storage.tables import Caption, Choice, Detection, Frame, Verdict
from tasks import selectors
from tasks.errors import StoreError
from tasks.frame_work import PictureError, decode
from tasks.selectors import ChooseConfig, Contender, Selector

__all__ = ["ChooseConfig", "choose_captions"]

VERSION = 1
STAGE = "choose"
FRAMES_AT_ONCE = 32
ORDER = ("ok", "violations", "failed")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What is hashed."""

    choose: ChooseConfig
    quarantine: bool


@dataclass(frozen=True)
class _Shard:
    """What one shard's captions are judged by."""

    frames: TableRef
    detections: TableRef
    captions: Sequence[TableRef]
    verdicts: Sequence[TableRef]
    taken: Sequence[TableRef] = ()
    """Choices made before: only the captions chosen there are compared. Empty: all are."""

    @property
    def inputs(self) -> list[str]:
        return [ref.fingerprint for ref in (self.detections, *self.captions, *self.verdicts, *self.taken)]


def choose_captions(
    frames: TableRef, captions: TableRef, mended: TableRef, detections: TableRef, verdicts: TableRef, store: Store,
    quarantine: bool, config: ChooseConfig,
) -> TableRef:  # fmt: skip
    """Rank every caption of one shard within its frame. With `quarantine` none at fault is chosen.

    Where `config.among` names several captioners and all of them have chosen, their first ones are ranked too, into a
    file of its own; such a file about a choice that does not stand any more is deleted, for it may name captions that
    are gone. Raises StoreError where a caption has no verdict, CheckpointError for a selector's model that is not
    there.
    """
    own = _Shard(frames, detections, [captions, mended], [verdicts])
    ref = _choose(own, captions.captioner, store, quarantine, config)
    if others := _among(own, store, config):
        _choose(others, "+".join(config.among), store, quarantine, config)
    _drop_stale(captions, store)
    return ref


def _drop_stale(captions: TableRef, store: Store) -> None:
    """Delete what was chosen among this captioner and others, where one of them has chosen anew, or is gone."""
    for folder in store.files.folders("choices"):
        joined = folder.removeprefix("captioner=")
        path = path_of("choices", captions.shard, joined)
        if captions.captioner not in (names := joined.split("+")) or len(names) == 1 or not store.files.exists(path):
            continue
        try:
            footer = store.footer(path)
        except StoreError:
            footer = None  # damaged
        stand = [store.ref("choices", captions.shard, name) for name in names]
        if footer is None or any(one is None or one.fingerprint not in footer.inputs for one in stand):
            log.info("shard %s: the choice among %s is deleted: not all of it stands any more", captions.shard, joined)
            store.files.delete(path)


def _choose(shard: _Shard, captioner: str, store: Store, quarantine: bool, config: ChooseConfig) -> TableRef:
    output = store.output(
        [Choice],
        stage=STAGE,
        shard=shard.frames.shard,
        inputs=shard.inputs,
        config=_Rule(choose=replace(config, among=()), quarantine=quarantine),
        version=VERSION,
        weights=selectors.identify(config),
        captioner=captioner,
        may_vary=config.uses_model,
    )
    if output.is_current():
        return output.ref
    with output.writer() as write:
        verdicts = {one.caption_id: one for ref in shard.verdicts for one in store.read(ref, Verdict)}
        for contenders, values in _valued(shard, store, config):
            for row in _ranked(contenders, values, verdicts, captioner, quarantine, config):
                write(row)
    return output.ref


def _among(own: _Shard, store: Store, config: ChooseConfig) -> _Shard | None:
    """The chosen captions of all captioners that are to be compared; None until every one of them has chosen."""
    every = [_others(own, name, store) for name in config.among]
    ready = [one for one in every if one]
    if not ready or len(ready) < len(every):
        return None
    return _Shard(
        own.frames,
        own.detections,
        captions=[ref for one in ready for ref in one.captions],
        verdicts=[ref for one in ready for ref in one.verdicts],
        taken=[ref for one in ready for ref in one.taken],
    )


def _others(own: _Shard, captioner: str, store: Store) -> _Shard | None:
    """What stands of a captioner in the store; None where it has not chosen yet among the captions that stand there."""
    shard = own.frames.shard
    first, mended = (store.ref("captions", shard, captioner, stage) for stage in ("", MENDING))
    verdicts, choices = (store.ref(table, shard, captioner) for table in ("verdicts", "choices"))
    footer = store.footer(choices.path) if choices else None
    if first and mended and verdicts and choices and footer:
        found = _Shard(own.frames, own.detections, [first, mended], [verdicts], [choices])
        if footer.inputs == replace(found, taken=()).inputs:
            return found
    log.info("shard %s: %s has not chosen yet, so there is nothing to compare among", shard, captioner)
    return None


def _valued(
    shard: _Shard, store: Store, config: ChooseConfig
) -> Iterator[tuple[list[Contender], Sequence[float | None]]]:
    """Frame by frame its captions with their values. Pictures are decoded for a few frames at a time."""
    selector, with_pictures = selectors.load(config), selectors.backend(config.select).NEEDS_PICTURES
    found: dict[str, list[Detection]] = defaultdict(list)
    for detection in store.read(shard.detections, Detection, batch_size=256):
        found[detection.frame_id].append(replace(detection, mask=None))
    taken = {row.caption_id for ref in shard.taken for row in store.read(ref, Choice) if row.rank == 0}
    written: dict[str, list[Caption]] = defaultdict(list)
    for one in chain.from_iterable(store.read(ref, Caption) for ref in shard.captions):
        if not shard.taken or one.caption_id in taken:
            written[one.frame_id].append(one)
    waiting: list[list[Contender]] = []
    for frame in store.read(shard.frames, Frame, batch_size=FRAMES_AT_ONCE):
        image = _picture(frame) if with_pictures else None
        waiting.append([Contender(one, found[frame.frame_id], image) for one in written[frame.frame_id]])
        if len(waiting) == FRAMES_AT_ONCE:
            yield from _values(waiting, selector)
            waiting = []
    yield from _values(waiting, selector)


def _picture(frame: Frame) -> NDArray[np.uint8] | None:
    try:
        return decode(frame)
    except PictureError as error:
        log.warning("no value for the captions of frame %s: %s", frame.frame_id, error)
        return None


def _values(
    frames: Sequence[list[Contender]], selector: Selector
) -> Iterator[tuple[list[Contender], Sequence[float | None]]]:
    values = iter(selector([one for contenders in frames for one in contenders]))
    for contenders in frames:
        yield contenders, [next(values) for _ in contenders]


def _ranked(
    contenders: Sequence[Contender], values: Sequence[float | None], verdicts: Mapping[str, Verdict], captioner: str,
    quarantine: bool, config: ChooseConfig,
) -> Iterator[Choice]:  # fmt: skip
    """The rows of one frame, best first. `sorted` keeps the order of equals."""
    judged = []
    for one, value in zip(contenders, values, strict=True):
        if (verdict := verdicts.get(one.caption.caption_id)) is None:
            raise StoreError(f"there is no verdict on {one.caption.caption_id}. Check the captions again.")
        judged.append((one.caption, value, verdict))
    judged.sort(key=lambda one: (ORDER.index(one[2].verdict), one[2].violations, one[1] is None, -(one[1] or 0.0)))
    for rank, (caption, value, verdict) in enumerate(judged):
        usable = verdict.verdict == "ok" or (verdict.verdict == "violations" and not quarantine)
        yield Choice(
            captioner=captioner,
            frame_id=caption.frame_id,
            caption_id=caption.caption_id,
            rank=rank,
            chosen=rank == 0 and usable,
            selected_by=config.select,
            value=value,
            verdict=verdict.verdict,
            reasons=["failed"] if verdict.verdict == "failed" else list(verdict.codes),
        )
