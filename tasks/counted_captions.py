"""Which captions of a captioner count, and what stands beside them in the store: scores, references, pictures."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

from storage.store import MENDED, MENDING, Store, TableRef
from storage.tables import Caption, Choice, Frame, Reference, Score
from tasks.corpora import Corpus, Models, Told
from tasks.errors import MetricUnavailableError
from tasks.measuring import Measuring
from tasks.metrics import ALL, CaptionMetric, Pair
from tasks.resampling import draws
from tasks.score_sheet import REFERENCED
from tasks.tally import Tally


@dataclass(frozen=True)
class Live:
    """The files of a captioner that stand in the store now."""

    captions: list[TableRef]
    scores: dict[str, TableRef]
    """By shard."""
    references: list[TableRef]
    mended: dict[str, TableRef]
    """By shard."""
    choices: dict[str, TableRef]
    """By shard."""

    @property
    def inputs(self) -> list[str]:
        """Fingerprints of all."""
        by_shard = (self.scores, self.mended, self.choices)
        refs = chain(self.captions, *(refs.values() for refs in by_shard), self.references)
        return [ref.fingerprint for ref in refs]


def live_files(captioner: str, store: Store) -> Live:
    """The files that stand in the store now, without what was made of captions that are gone."""
    captions = [ref for ref in _refs("captions", captioner, store) if not ref.shard.endswith(MENDED)]
    movies = set(map(_movie_of, captions))
    references = [ref for ref in _refs("references", "", store) if _movie_of(ref) in movies]
    made = [_made_of(captions, table, store) for table in ("scores", "captions", "choices")]
    return Live(captions, made[0], references, mended=made[1], choices=made[2])


def _made_of(captions: Sequence[TableRef], table: str, store: Store) -> dict[str, TableRef]:
    """By shard the files that were made of these captions; what was made of captions that are gone is left out."""
    made = {}
    for ref in captions:
        stage = MENDING if table == "captions" else ""
        one = store.ref(table, ref.shard, ref.captioner, stage)
        if one and store.is_made_of(one, ref):
            made[ref.shard] = one
    return made


def _movie_of(ref: TableRef) -> str:
    return ref.shard.rpartition("/")[0]


def _refs(table: str, captioner: str, store: Store) -> list[TableRef]:
    """The files of a table by movie, in order."""
    folder = f"{table}/captioner={captioner}" if captioner else table
    refs = []
    for path in store.files.under(folder):
        movie, _, name = path.removeprefix(f"{folder}/").rpartition("/")
        ref = store.ref(table, f"{movie.removeprefix('movie_id=')}/{name.removesuffix('.parquet')}", captioner)
        refs += [ref] if ref else []
    return refs


def uncaptioned_frames(captioner: str, store: Store) -> int:
    """How many frames of the movies that it captions have no captions yet, as when captioning was stopped."""
    done = {ref.shard for ref in _refs("captions", captioner, store)}
    movies = {shard.rpartition("/")[0] for shard in done}
    return sum(ref.rows for ref in _refs("frames", "", store) if _movie_of(ref) in movies and ref.shard not in done)


def references_of(live: Live, store: Store) -> dict[str, list[str]]:
    """Plain references by frame_id."""
    references: dict[str, list[str]] = defaultdict(list)
    for ref in live.references:
        for reference in store.read(ref, Reference):
            references[reference.frame_id].append(reference.plain_text)
    return references


def add_up(
    live: Live, metrics: Sequence[CaptionMetric], store: Store, measuring: Measuring
) -> tuple[dict[str, Tally], list[Pair]]:
    """Scores added up by group, and the captions of frames that have references, with all of those, not yet tokenised.

    Shard by shard: of a caption without references nothing is kept but its share of the sums. Candidates that do not
    count are among the pairs too.
    """
    references = references_of(live, store)
    groups = {group: Tally(metrics, measuring.resamples) for group in (ALL, REFERENCED)}
    pairs = []
    for movie_id, shards in groupby(live.captions, _movie_of):
        movie = groups[f"movie={movie_id}"] = Tally(metrics, measuring.resamples)
        for caption, counts, scores in (one for ref in shards for one in _scored(ref, live, store)):
            told = references.get(caption.frame_id)
            if counts:
                drawn = draws([caption.frame_id], measuring.resamples, measuring.seed)[0]
                for tally in (groups[ALL], movie, *([groups[REFERENCED]] if told else [])):
                    tally.add(caption.caption_id, scores, drawn)
            if told:
                pair = Pair(
                    caption_id=caption.caption_id,
                    frame_id=caption.frame_id,
                    candidate=words(caption),
                    references=tuple(told),
                    counts=counts,
                )
                pairs.append(pair)
        movie.close()
    return groups, pairs


def _scored(captions: TableRef, live: Live, store: Store) -> Iterator[tuple[Caption, bool, dict[str, float]]]:
    """The captions of one shard, whether each counts, and its scores by name."""
    scores = scores_of(live.scores.get(captions.shard), store)
    for caption, counts in candidates(captions, live, store):
        yield caption, counts, scores.get(caption.caption_id, {})


def words(caption: Caption) -> str:
    """The plain text; empty where there is no caption."""
    return "" if caption.error is not None or caption.finish_reason == "error" else caption.plain_text


def corpus_of(live: Live, store: Store, models: Models) -> Corpus:
    """All captions that count, in the order of their shards, and the pictures of their frames."""
    references: dict[str, list[str]] = {}

    def captions() -> Iterator[Told]:
        references.update({} if references else references_of(live, store))
        for ref in live.captions:
            for caption in counted(ref, live, store):
                yield Told(
                    caption_id=caption.caption_id,
                    frame_id=caption.frame_id,
                    text=words(caption),
                    references=tuple(references.get(caption.frame_id, ())),
                )

    def frames() -> Iterator[Frame]:
        for ref in live.captions:
            told = {caption.frame_id for caption in counted(ref, live, store)}
            if (there := store.ref("frames", ref.shard)) is None:
                raise MetricUnavailableError(f"the frames of {ref.shard} are gone from the store; extract them again")
            found = [frame.frame_id for frame in store.read(there, Frame, batch_size=32) if frame.frame_id in told]
            if lost := told.difference(found):
                raise MetricUnavailableError(f"frame {min(lost)} is gone from the store; extract the frames again")
            yield from (frame for frame in store.read(there, Frame, batch_size=32) if frame.frame_id in told)

    return Corpus(captions=captions, frames=frames, models=models)


def counted(captions: TableRef, live: Live, store: Store) -> Iterator[Caption]:
    """The captions of one shard that count."""
    return (caption for caption, counts in candidates(captions, live, store) if counts)


def candidates(captions: TableRef, live: Live, store: Store) -> Iterator[tuple[Caption, bool]]:
    """The captions of one shard, and whether each counts: one per frame does; a quarantined one without its words."""
    mended, choices = live.mended.get(captions.shard), live.choices.get(captions.shard)
    if not choices:
        yield from ((caption, True) for caption in store.read(captions, Caption, batch_size=256))
        return
    first = {one.caption_id: one.chosen for one in store.read(choices, Choice) if one.rank == 0}
    for ref in (captions, *([mended] if mended else [])):
        for caption in store.read(ref, Caption, batch_size=256):
            counts = caption.caption_id in first
            yield (caption if first.get(caption.caption_id, True) else replace(caption, plain_text="")), counts


def scores_of(ref: TableRef | None, store: Store) -> dict[str, dict[str, float]]:
    """Caption id to metric to value, of one shard."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for score in store.read(ref, Score) if ref else ():
        scores[score.caption_id][score.metric] = score.value
    return scores
