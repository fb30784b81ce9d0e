"""The tables of a store: the contract between the stages, and with everyone who writes SQL.

One frozen dataclass per table; its name is the row, `table` the table. Arrow schema, DuckDB column comments and
docs/tables.md derive from the annotations. A column is non-nullable unless its type says `None`.

Identifiers nest, so a join is never in doubt: movie_id < frame_id < caption_id.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from storage.row import Row as Row
from storage.score_tables import Alarm as Alarm
from storage.score_tables import Baseline as Baseline
from storage.training_tables import Adapter, AdapterScore, TrainingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An axis-aligned box as fractions of the frame, 0 to 1; origin top left. The only box format on disk."""

    x: Annotated[float, "left edge"]
    y: Annotated[float, "top edge"]
    w: Annotated[float, "width"]
    h: Annotated[float, "height"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Hugging Face's image struct: `datasets` shows it as a picture."""

    bytes: Annotated[bytes, "the encoded file (JPEG)"]
    path: Annotated[str, "a file name for it"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Movie(Row):
    """One movie file, known by its content. A file that cannot be used is a row too, with the reason."""

    table: ClassVar[str] = "movies"
    key: ClassVar[tuple[str, ...]] = ("movie_id",)
    references: ClassVar[dict[str, str]] = {}

    movie_id: Annotated[str, "'m' and the first 15 hexadecimal digits of sha256: the same bytes are the same movie"]
    title: Annotated[str, "file name without its ending, for people; need not be unique"]
    path: Annotated[str, "where the file was when this row was written"]
    other_paths: Annotated[list[str], "files of the same bytes that were given beside `path`"]
    sha256: Annotated[str, "of the file's bytes; empty when it could not be read"]
    size_bytes: Annotated[int, "size of the file"]
    width: Annotated[int, "of a decoded frame in pixels, after rotation and sample aspect ratio; 0 when unknown"]
    height: Annotated[int, "of a decoded frame in pixels, after rotation and sample aspect ratio; 0 when unknown"]
    codec: Annotated[str, "FFmpeg's name of the video codec; empty when there is no video"]
    frame_rate: Annotated[float | None, "average frames per second the container states; null when it does not"]
    duration_seconds: Annotated[float | None, "from the first frame's presentation time to the end of the last decoded"]
    decoded_frames: Annotated[int, "frames that were decoded well"]
    damaged_frames: Annotated[int, "packets and frames the decoder rejected or flagged corrupt"]
    status: Annotated[str, "ok | truncated | unreadable | no_video"]
    error: Annotated[str | None, "why the status is not ok, and what to do"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot(Row):
    """One shot: the frames between two cuts. Half open, [start_seconds, end_seconds)."""

    table: ClassVar[str] = "shots"
    key: ClassVar[tuple[str, ...]] = ("movie_id", "shot_index")
    references: ClassVar[dict[str, str]] = {"movie_id": "movies"}

    movie_id: Annotated[str, "movies.movie_id"]
    shot_index: Annotated[int, "from 0 within the movie, in order of time"]
    start_seconds: Annotated[float, "presentation time of the first frame, counted from the movie's first frame"]
    end_seconds: Annotated[float, "presentation time of the next shot's first frame, or the movie's end"]
    frames: Annotated[int, "decoded frames in the shot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Row):
    """One extracted frame."""

    table: ClassVar[str] = "frames"
    key: ClassVar[tuple[str, ...]] = ("frame_id",)
    references: ClassVar[dict[str, str]] = {"movie_id": "movies"}

    frame_id: Annotated[str, "<movie_id>_<frame_index as six digits>"]
    movie_id: Annotated[str, "movies.movie_id"]
    shot_index: Annotated[int, "shots.shot_index"]
    frame_index: Annotated[int, "from 0 within the movie, over the extracted frames"]
    pts_seconds: Annotated[float, "presentation time, from the movie's first frame; 0 where a dataset has none"]
    width: Annotated[int, "of the stored picture in pixels"]
    height: Annotated[int, "of the stored picture in pixels"]
    image: Annotated[Image, "the picture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection(Row):
    """One object found in one frame. A stuff region that was split into boxes gives one row per box."""

    table: ClassVar[str] = "detections"
    key: ClassVar[tuple[str, ...]] = ("frame_id", "object_id")
    references: ClassVar[dict[str, str]] = {"frame_id": "frames"}

    frame_id: Annotated[str, "frames.frame_id"]
    object_id: Annotated[str, "<label>-<n>, n from 0 within label and frame, in prompt order; what tags cite"]
    object_index: Annotated[int, "place in the prompt's list, from 0"]
    segment_id: Annotated[int, "panoptic segment the box came from, from 1; boxes of a split region share it"]
    label: Annotated[str, "category name after GroundCap's cleaning: lower case, hyphens for blanks"]
    category_id: Annotated[int, "the checkpoint's class index (COCO panoptic: 0-79 things, 80-132 stuff)"]
    is_thing: Annotated[bool, "true: countable thing; false: stuff"]
    score: Annotated[float, "detector confidence, 0 to 1"]
    box: Annotated[Box, "fractions of the frame, origin top left"]
    area: Annotated[float, "the segment's mask as a fraction of the frame's pixels"]
    mask: Annotated[str | None, "the segment's mask, COCO compressed run lengths; null where masks are off"]
    mask_width: Annotated[int, "width of the mask in pixels"]
    mask_height: Annotated[int, "height of the mask in pixels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Row):
    """One frame that a stage could not work on. The run went on; the frame is not lost from sight."""

    table: ClassVar[str] = "failures"
    key: ClassVar[tuple[str, ...]] = ("stage", "frame_id")
    references: ClassVar[dict[str, str]] = {"frame_id": "frames"}

    frame_id: Annotated[str, "frames.frame_id"]
    stage: Annotated[str, "the stage that failed"]
    error: Annotated[str, "what went wrong, and what to do"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption(Row):
    """One caption of one frame. A failed one is a row with an `error`. One that was made to replace a caption at fault
    stands beside it as a row of its own; `choices` says which of a frame's captions counts.
    """

    table: ClassVar[str] = "captions"
    key: ClassVar[tuple[str, ...]] = ("caption_id",)
    references: ClassVar[dict[str, str]] = {"frame_id": "frames"}

    caption_id: Annotated[str, "<frame_id>/<captioner>/<candidate>, and .<attempt> where that is above 0"]
    frame_id: Annotated[str, "frames.frame_id"]
    captioner: Annotated[str, "name under which this captioner's rows stand in the store"]
    candidate: Annotated[int, "from 0 over the captions of one frame by one captioner"]
    attempt: Annotated[int, "0: the captioner's first answer; from 1: what was made to replace that, in order"]
    mended_from: Annotated[str | None, "captions.caption_id of the first answer; null for the first answer itself"]
    repairs: Annotated[list[str], "what was done to the first answer's text, see tasks/repairs.py; empty: nothing"]
    text: Annotated[str, "the caption with its tags, exactly as generated; of a repaired one, after its repairs"]
    original_text: Annotated[
        str | None,
        "what the captioner wrote, where `text` is not that: cut off inside a tag, no caption (`error`), or repaired",
    ] = None
    plain_text: Annotated[str, "the caption without tags, blanks collapsed"]
    checkpoint: Annotated[str, "the model: hub id or folder name, and the digest of its weights"]
    adapter: Annotated[str | None, "the adapter, likewise; null without one"]
    prompt_template: Annotated[str, "name of the template in tasks/prompts.py"]
    prompt_digest: Annotated[str, "first 16 hexadecimal digits of sha256 over the rendered prompt"]
    prompt_tokens: Annotated[int, "tokens of the prompt, image tokens included, padding not"]
    completion_tokens: Annotated[int, "tokens generated, the end token included"]
    decoding: Annotated[str, "free: all that the model says | constrained: what keeps to the frame's tag grammar"]
    temperature: Annotated[float, "sampling temperature; 0 is greedy"]
    top_p: Annotated[float, "nucleus mass kept when sampling; 1 keeps all"]
    seed: Annotated[int, "of this caption's own random numbers"]
    finish_reason: Annotated[str, "stop (the end token) | length (the token limit) | error"]
    error: Annotated[str | None, "why there is no caption; null when there is one"]
    mean_logprob: Annotated[float | None, "mean natural log-probability of the generated tokens; null on error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention(Row):
    """One tag of a caption: a span of words and the objects it cites, with a verdict."""

    table: ClassVar[str] = "mentions"
    key: ClassVar[tuple[str, ...]] = ("caption_id", "mention_index")
    references: ClassVar[dict[str, str]] = {"caption_id": "captions"}

    caption_id: Annotated[str, "captions.caption_id"]
    mention_index: Annotated[int, "from 0 in order of the opening tags"]
    kind: Annotated[str, "object (gdo) | action (gda) | location (gdl)"]
    label: Annotated[str, "the tag's class: category of an object or location, lemma of an action"]
    object_ids: Annotated[list[str], "the ids the tag cites, in order, repetitions kept"]
    text: Annotated[str, "the words inside the tag, tags removed"]
    start: Annotated[int, "first character in plain_text, from 0"]
    end: Annotated[int, "one past the last character in plain_text"]
    verdict: Annotated[str, "ok, or the code of its first violation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation(Row):
    """One fault in a caption's tags. Codes: docs/violations.md."""

    table: ClassVar[str] = "violations"
    key: ClassVar[tuple[str, ...]] = ("caption_id", "violation_index")
    references: ClassVar[dict[str, str]] = {"caption_id": "captions"}

    caption_id: Annotated[str, "captions.caption_id"]
    violation_index: Annotated[int, "from 0 in order of place"]
    code: Annotated[str, "stable name of the fault"]
    object_id: Annotated[str | None, "the id at fault, where there is one"]
    start: Annotated[int, "first character at fault in the tagged text, from 0"]
    end: Annotated[int, "one past the last character at fault in the tagged text"]
    message: Annotated[str, "what is wrong, for people"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Row):
    """What the consistency check says of one caption. The view captions_ok asks this table."""

    table: ClassVar[str] = "verdicts"
    key: ClassVar[tuple[str, ...]] = ("caption_id",)
    references: ClassVar[dict[str, str]] = {"caption_id": "captions"}

    caption_id: Annotated[str, "captions.caption_id"]
    verdict: Annotated[str, "ok | violations (some tag is at fault) | failed (there is no caption)"]
    codes: Annotated[list[str], "the different violation codes, sorted"]
    mentions: Annotated[int, "tags that parsed as mentions"]
    violations: Annotated[int, "faults"]
    captions_fingerprint: Annotated[str, "of the captions file this was said of"]
    detections_fingerprint: Annotated[str, "of the detections file it was checked against"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Row):
    """One caption that was up for choice. Of all captions of a frame by a captioner, or of several captioners, one is
    chosen at most. A caption at fault has a rank behind every clean one.
    """

    table: ClassVar[str] = "choices"
    key: ClassVar[tuple[str, ...]] = ("captioner", "caption_id")
    references: ClassVar[dict[str, str]] = {"caption_id": "captions", "frame_id": "frames"}

    captioner: Annotated[str, "whose captions were compared: a captioner's name, or several joined by '+'"]
    frame_id: Annotated[str, "frames.frame_id"]
    caption_id: Annotated[str, "captions.caption_id"]
    rank: Annotated[int, "from 0 within the frame, the best first"]
    chosen: Annotated[bool, "true: rank 0, with a caption that is not quarantined"]
    selected_by: Annotated[str, "the score that ranks captions of equal verdict: name in tasks/selectors"]
    value: Annotated[float | None, "that score, higher is better; null where it cannot be computed"]
    verdict: Annotated[str, "verdicts.verdict at the time of the choice"]
    reasons: Annotated[list[str], "why it is not clean: its violation codes, or 'failed'; empty for a clean one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference(Row):
    """One reference caption of a frame, written by people or taken from a dataset."""

    table: ClassVar[str] = "references"
    key: ClassVar[tuple[str, ...]] = ("reference_id",)
    references: ClassVar[dict[str, str]] = {"frame_id": "frames"}

    reference_id: Annotated[str, "<frame_id>/<source>/<n>"]
    frame_id: Annotated[str, "frames.frame_id"]
    source: Annotated[str, "who wrote it: human, automatic, or a name"]
    text: Annotated[str, "the caption, with tags where it has them"]
    plain_text: Annotated[str, "the caption without tags, blanks collapsed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Row):
    """One metric of one caption. A long table: a new metric adds rows, never a column."""

    table: ClassVar[str] = "scores"
    key: ClassVar[tuple[str, ...]] = ("caption_id", "metric")
    references: ClassVar[dict[str, str]] = {"caption_id": "captions"}

    caption_id: Annotated[str, "captions.caption_id"]
    metric: Annotated[str, "name of the metric, see docs/metrics.md"]
    value: Annotated[float, "its value, in the metric's own unit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(Row):
    """What one rater, a model that was asked or a person, thinks of one caption by one criterion. Where no score came
    of it, it is a row with an `error`.
    """

    table: ClassVar[str] = "judgements"
    key: ClassVar[tuple[str, ...]] = ("caption_id", "rater", "criterion")
    references: ClassVar[dict[str, str]] = {"caption_id": "captions"}

    caption_id: Annotated[str, "captions.caption_id"]
    rater: Annotated[str, "name of who rates"]
    rater_kind: Annotated[str, "model | person"]
    criterion: Annotated[str, "object_precision | grounding_recall | description_accuracy | language_quality | overall"]
    score: Annotated[float | None, "1 (worst) to 5 (best), a model's in whole numbers; null on error"]
    reason: Annotated[str | None, "why this score, in the rater's words; null where nothing was said"]
    error: Annotated[str | None, "why there is no score; null when there is one"]
    text_digest: Annotated[str, "first 16 hexadecimal digits of sha256 over captions.text as it was rated"]
    model: Annotated[str | None, "the model's name at its server; null of a person, as the rest is"] = None
    prompt: Annotated[str | None, "file in tasks/judge_prompts that the model was asked with"] = None
    prompt_hash: Annotated[str | None, "16 digits of sha256 over that file and the form of the answer"] = None
    asked_digest: Annotated[str | None, "likewise over all that was asked: model, settings, prompt, picture"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(Row):
    """One metric over all captions of a captioner, or over a group of them."""

    table: ClassVar[str] = "summaries"
    key: ClassVar[tuple[str, ...]] = ("captioner", "metric", "group")
    references: ClassVar[dict[str, str]] = {}

    captioner: Annotated[str, "captions.captioner, or the name under which panoptic quality was measured"]
    metric: Annotated[str, "name of the metric, with its way of averaging where there are two"]
    group: Annotated[str, "which captions: 'all', or 'movie=<movie_id>'; docs/data.md has those of panoptic quality"]
    value: Annotated[float | None, "null where it could not be computed; then `reason` says why"]
    low: Annotated[float | None, "lower bound of its 95 % interval over resampled frames; null without one"] = None
    high: Annotated[float | None, "upper bound of it"] = None
    captions: Annotated[int, "captions counted, the failed ones included; images, of panoptic quality"]
    signature: Annotated[str, "how it was computed, in one line; its parts stand in `metrics`"]
    reason: Annotated[str | None, "why there is no value; null when there is one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Row):
    """What one value of a captioner's summaries is, and how it was computed. Values compare where all this is equal."""

    table: ClassVar[str] = "metrics"
    key: ClassVar[tuple[str, ...]] = ("captioner", "metric")
    references: ClassVar[dict[str, str]] = {}

    captioner: Annotated[str, "summaries.captioner"]
    metric: Annotated[str, "summaries.metric"]
    family: Annotated[str, "file in tasks/metrics that computes it: its name in the configuration"]
    meaning: Annotated[str, "what it says"]
    higher_is_better: Annotated[bool | None, "false: lower is; null: neither, as of counts and lengths"]
    reads: Annotated[str, "what it is computed from"]
    version: Annotated[str, "of the metric; another one may give other numbers"]
    tokenizer: Annotated[str, "how texts were cut into words; empty where they were not"]
    settings: Annotated[str, "conventions and parameters"]
    libraries: Annotated[str, "packages that compute it, with versions; empty: this project alone"]
    models: Annotated[str, "JSON object: models that were asked, and the digests of their weights"]
    references_digest: Annotated[str, "16 digits of sha256 over all references used; empty where none are read"]
    resamples: Annotated[int, "how many the intervals are from"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun(Row):
    """One shard worked through by one stage in one run. Work that was found finished leaves no row."""

    table: ClassVar[str] = "stage_runs"
    key: ClassVar[tuple[str, ...]] = ("run_id", "stage", "shard", "captioner")
    references: ClassVar[dict[str, str]] = {}

    run_id: Annotated[str, "one per run of the flow"]
    stage: Annotated[
        str,
        "extract | detect | caption | mend | check | choose | score | summarise | baseline | judge | adapter | movies",
    ]
    shard: Annotated[str, "<movie_id>/<number>, or the captioner where the stage works on all of one"]
    captioner: Annotated[str, "captions.captioner; empty for stages before it"]
    fingerprint: Annotated[str, "of the files written"]
    rows: Annotated[int, "rows written to the stage's main table"]
    seconds: Annotated[float, "wall time"]
    frames: Annotated[int, "frames worked on: the shard's; of mend, those asked about again; 0: not about pictures"]
    prompt_tokens: Annotated[int, "tokens of all prompts, image tokens included; 0 for stages without a language model"]
    tokens: Annotated[int, "tokens generated; 0 for stages without a language model"]
    asking_seconds: Annotated[float, "of `seconds`, from the first question to the captioner to its last answer"]
    waiting_seconds: Annotated[float, "of `asking_seconds`, how long the captioner waited for pictures to be read"]
    started_at: Annotated[str, "UTC, ISO 8601"]
    code_version: Annotated[str, "version of this project, and the commit where there is one"]
    config: Annotated[str, "the stage's configuration as JSON"]


TABLES: dict[str, type[Row]] = {
    row.table: row
    for row in (
        Movie, Shot, Frame, Detection, Failure, Caption, Mention, Violation, Verdict, Choice, Reference, Score,
        Judgement, Summary, Metric, Alarm, Baseline, Adapter,
        AdapterScore, TrainingPoint, StageRun,
    )
}  # fmt: skip

BY_CAPTIONER = frozenset({
    "captions", "mentions", "violations", "verdicts", "choices", "scores", "judgements", "metrics", "alarms",
    "baselines",
})  # fmt: skip
"""Tables that stand side by side for several captioners: their path has a captioner= folder."""
