"""Captions and detections -> verdicts, mentions, violations: does a caption cite what is there, and nothing else?

What is looked at in a text stands in tasks/caption_check.py; here: every caption of a shard, and its rows.
"""

import sys
from collections.abc import Iterator, Mapping

from storage.store import Store, TableRef
from storage.tables import Caption, Detection, Mention, Verdict, Violation
from tasks.caption_check import Checked, Finding, check, check_against
from tasks.errors import StoreError
from tasks.violation_codes import CODES, violations_markdown

__all__ = ["CODES", "Checked", "Finding", "check", "check_captions", "violations_markdown"]

VERSION = 2


def check_captions(captions: TableRef, detections: TableRef, store: Store, mended: TableRef | None = None) -> TableRef:
    """Check one shard of captions, those of `mended` like the others. Every caption gets one row in verdicts.

    Raises StoreError where a caption's plain_text is not what the tag grammar makes of its text.
    """
    output = store.output(
        [Verdict, Mention, Violation],
        stage="check",
        shard=captions.shard,
        inputs=[ref.fingerprint for ref in (captions, detections, *([mended] if mended else []))],
        config=None,
        version=VERSION,
        captioner=captions.captioner,
    )
    if output.is_current():
        return output.ref
    things: dict[str, dict[str, bool]] = {}
    for detection in store.read(detections, Detection, batch_size=256):  # a shard's ids; the masks pass by
        things.setdefault(detection.frame_id, {})[detection.object_id] = detection.is_thing
    with output.writer() as write:
        for ref in (captions, *([mended] if mended else [])):
            for caption in store.read(ref, Caption):
                checked = _checked(caption, things.get(caption.frame_id, {}), ref)
                write(_verdict(caption, checked, ref, detections))
                for row in _rows(caption.caption_id, checked) if checked else ():
                    write(row)
    return output.ref


def _checked(caption: Caption, things: Mapping[str, bool], ref: TableRef) -> Checked | None:
    """None for a caption that failed."""
    if caption.error is not None or caption.finish_reason == "error":
        return None
    checked = check_against(caption.text, things)
    if checked.plain_text != caption.plain_text:
        raise StoreError(
            f"the plain text of {caption.caption_id} in {ref.path} was made by another tag grammar. "
            "Delete the file and run again."
        )
    return checked


def _verdict(caption: Caption, checked: Checked | None, captions: TableRef, detections: TableRef) -> Verdict:
    return Verdict(
        caption_id=caption.caption_id,
        verdict="failed" if checked is None else "violations" if checked.violations else "ok",
        codes=checked.codes if checked else [],
        mentions=len(checked.mentions) if checked else 0,
        violations=len(checked.violations) if checked else 0,
        captions_fingerprint=captions.fingerprint,
        detections_fingerprint=detections.fingerprint,
    )


def _rows(caption_id: str, checked: Checked) -> Iterator[Mention | Violation]:
    for index, (mention, verdict) in enumerate(zip(checked.mentions, checked.verdicts, strict=True)):
        yield Mention(
            caption_id=caption_id,
            mention_index=index,
            kind=mention.kind,
            label=mention.label,
            object_ids=list(mention.object_ids),
            text=mention.text,
            start=mention.start,
            end=mention.end,
            verdict=verdict,
        )
    for index, found in enumerate(checked.violations):
        yield Violation(
            caption_id=caption_id,
            violation_index=index,
            code=found.code,
            object_id=found.object_id,
            start=found.start,
            end=found.end,
            message=found.message,
        )


if __name__ == "__main__":
    sys.stdout.write(violations_markdown())
