"""Shots: PySceneDetect's detectors, fed frame by frame, and the rules that reconcile what they report.

Its parts work together, because each alone is fooled by what another sees through:

- AdaptiveDetector, without its minimum shot length, proposes hard cuts: also those 8 frames apart.
- ThresholdDetector on the contrast of the picture's middle sees pictures vanish into black, white or any flat colour,
  and proposes a cut where the next one emerges; a second one on the brightness does so where nothing has contrast.
- HashDetector's perceptual hash says which frames show the same scene whatever their brightness. A proposal is dropped
  when some frame shortly before it shows the same scene as one shortly after it: a flash, flicker, a passing shadow,
  the slope of a fade.

- ContentDetector, with its own threshold, is shown only the frames around a stretch: where it sees two scenes and the
  frame between them is a blend of both, the stretch is a dissolve.

What follows of it: a flash does not split a shot; a fade out and in splits once, where the new picture emerges (a black
stretch belongs to the shot before); the fade-in at a movie's start and the fade-out at its end split nothing.
Everything is decided within LAG frames, and from at most WARM_UP frames.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode, ThresholdDetector
from scenedetect.detectors import HashDetector

from tasks.errors import ConfigError

LAG = 24
"""Frames that have to be seen after a frame before it is known whether it starts a shot."""
WARM_UP = 48
"""Frames after which a detector that starts in the middle of a movie agrees with one that saw all of it."""
CLOCK = 25.0
"""Frame rate told to the detectors; they are asked to count frames, so it means nothing."""
HASH_SIZE, HASH_LOWPASS = 16, 2
"""HashDetector's own defaults."""
CONTRAST_GAIN = 8
"""ThresholdDetector takes whole numbers: contrasts are fed times this."""
SURE_LIKENESS = 0.8
"""Pictures that correlate more than this show the same scene, whatever its light and the hash say."""
LEAST_LIKENESS = 0.5
"""Pictures that correlate more than this are one scene under a changing light, not two that dissolve."""
FAINT = 3
"""A picture with so many times less contrast than another may be what is left of it in a fade."""
SIDE_FRAMES, SIDE_REST = 8, 0.2
"""Before and after a dissolve all is calm: over so many frames the picture changes by less than this share."""
DISSOLVE_REACHES = (6, 10, 14)
"""So many frames before and after the middle of a dissolve, one of the two scenes stands alone."""
SLOPE_FRAMES = 4
"""Next to a flat stretch a picture is too faint to be recognised; no cut is reported so close to it."""
HARDLY_CHANGED = 0.1
"""Two frames whose colours differ by less than this share of their contrast show the same, whatever the hash says."""
FADE_FRAMES = 24
"""A picture that emerges slowly may cross the bounds of brightness and of contrast so far apart: that is one fade."""


@dataclass(frozen=True, kw_only=True)
class ShotsConfig:
    """How cuts are told from motion, light and fades. Pictures are 256 pixels wide, brightness is 0 to 255."""

    adaptive_ratio: float = 2.5
    """A frame must change so many times as much as the two before and after it."""
    least_change: float = 12.0
    """And at least so much: mean over hue, saturation and brightness (AdaptiveDetector's content value)."""
    same_scene_hash: float = 0.32
    """Two frames with a smaller share of differing hash bits may show the same scene."""
    same_scene_change: float = 20.0
    """If also their mean difference over the colour channels is smaller than this, they do."""
    flash_frames: int = 6
    """The longest flash or passing shadow that does not split a shot; a shot has to be longer."""
    flat_contrast: float = 1.5
    """A picture whose middle varies less, as mean deviation, is flat: nothing is to be seen in it."""
    blend_rest: float = 0.25
    """The middle of a dissolve differs at most this much, as a share, from a blend of both scenes; 0 finds none."""
    black: int = 16
    """A flat picture darker than this on average is black; one brighter than 255 minus this is white."""

    def __post_init__(self) -> None:
        _check(1 < self.adaptive_ratio <= 100, "adaptive_ratio is more than 1.")
        _check(0 <= self.least_change <= 255, "least_change is 0 to 255.")
        _check(0 <= self.same_scene_hash <= 1, "same_scene_hash is 0 to 1.")
        _check(0 <= self.same_scene_change <= 255, "same_scene_change is 0 to 255.")
        _check(0 <= self.flash_frames <= LAG - 2, f"flash_frames is 0 to {LAG - 2}.")
        _check(0 < self.flat_contrast <= 30, "flat_contrast is more than 0, at most 30.")
        _check(0 <= self.blend_rest <= 1, "blend_rest is 0 to 1.")
        _check(0 <= self.black <= 100, "black is 0 to 100.")


def _check(good: bool, rule: str) -> None:
    if not good:
        raise ConfigError(f"shots: {rule}")


@dataclass(frozen=True)
class _Sign:
    """What is remembered of a frame."""

    bits: NDArray[np.bool_]
    colours: NDArray[np.float32]
    contrast: float
    flat: bool
    extreme: bool
    """Flat and black or white."""


class ShotDetector:
    """Takes a movie's frames in order and reports which of them start a shot, at most LAG frames later."""

    def __init__(self, config: ShotsConfig, *, continues: bool = False) -> None:
        """`continues`: something was to be seen before the first frame, so a flat start is the middle of a fade."""
        self._config = config
        self._cuts = AdaptiveDetector(
            adaptive_threshold=config.adaptive_ratio, min_content_val=config.least_change, min_scene_len=1
        )
        contrast = round(config.flat_contrast * CONTRAST_GAIN)
        self._contrast = ThresholdDetector(threshold=contrast, min_scene_len=0, fade_bias=1.0)
        self._brightness = ThresholdDetector(threshold=config.black, min_scene_len=0, fade_bias=1.0)
        self._signs: deque[_Sign] = deque(maxlen=WARM_UP)
        self._seen = self._decided = 0
        self._proposed: set[int] = set()
        self._emerging: set[int] = set()
        self._last_cut = self._last_emerged = -WARM_UP
        self._first_seen: int | None = -1 if continues else None

    @property
    def last_is_blank(self) -> bool:
        """Whether the frame pushed last was nothing but black or white."""
        return self._signs[-1].extreme

    def push(self, picture: NDArray[np.uint8]) -> list[int]:
        """The next frame: (lines, 256, 3) uint8, BGR. Numbers, from 0, of frames that are now known to start a shot."""
        now = FrameTimecode(self._seen, CLOCK)
        middle = _middle(picture)
        self._signs.append(self._sign(picture, middle))
        self._proposed.update(cut.frame_num for cut in self._cuts.process_frame(now, picture))
        contrast = np.abs(middle.astype(np.float32) - middle.mean()) * CONTRAST_GAIN
        emerged = [*self._contrast.process_frame(now, contrast), *self._from_black(now, middle)]
        self._emerging.update(cut.frame_num for cut in emerged)
        if self._first_seen is None and not self._signs[-1].extreme:
            self._first_seen = self._seen
        self._seen += 1
        return self._decide(self._seen - LAG)

    def finish(self) -> list[int]:
        """The movie has ended: the numbers not yet reported."""
        return self._decide(self._seen)

    def _from_black(self, now: FrameTimecode, middle: NDArray[np.uint8]) -> list[Any]:
        """Emerging from black counts by brightness only where the picture stays flat; else its contrast tells."""
        emerged = self._brightness.process_frame(now, middle)
        return list(emerged) if self._signs[-1].flat else []

    def _sign(self, picture: NDArray[np.uint8], middle: NDArray[np.uint8]) -> _Sign:
        deviation = float(np.abs(middle.astype(np.float32) - middle.mean()).mean())
        flat = deviation < self._config.flat_contrast
        level = float(middle.mean())
        return _Sign(
            bits=np.asarray(HashDetector.hash_frame(picture, HASH_SIZE, HASH_LOWPASS), dtype=np.bool_),
            colours=cv2.resize(picture, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32),
            contrast=deviation,
            flat=flat,
            extreme=flat and not self._config.black <= level <= 255 - self._config.black,
        )

    def _decide(self, end: int) -> list[int]:
        """Decide on all frames before `end`."""
        found = []
        for number in range(self._decided, max(end, self._decided)):
            if self._starts_shot(number):
                self._last_cut = number
                found.append(number)
        self._decided = max(end, self._decided)
        self._proposed = {one for one in self._proposed if one >= self._decided}
        self._emerging = {one for one in self._emerging if one >= self._decided - SLOPE_FRAMES}
        return found

    def _starts_shot(self, number: int) -> bool:
        if number - self._last_cut < SLOPE_FRAMES or number == 0:
            return False
        if self._emerges(number):
            again = self._last_cut > self._flat_since(number) and number not in self._proposed
            if again or number - self._last_emerged < FADE_FRAMES or self._is_flash(number):
                return False
            self._last_emerged = number
            return self._seen_before(number)
        if number in self._proposed:
            return not self._beside_flat(number) and not self._same_scene_around(number)
        return number - self._last_cut >= FADE_FRAMES and self._dissolves(number)

    def _dissolves(self, number: int) -> bool:
        """Whether a frame is the middle of a dissolve: about half of one scene and half of another."""
        here = self._at(number)
        for reach in DISSOLVE_REACHES:
            before, after = self._at(number - reach), self._at(number + reach)
            if not (here and before and after) or before.flat or here.flat or after.flat:
                continue
            step = after.colours - before.colours
            length = float((step * step).sum()) or 1.0
            share = float(((here.colours - before.colours) * step).sum()) / length
            rest = here.colours - before.colours - share * step
            is_blend = abs(share - 0.5) < 0.2 and float((rest * rest).sum()) < self._config.blend_rest**2 * length
            faint = FAINT * min(before.contrast, after.contrast) < max(before.contrast, after.contrast)  # it only fades
            is_blend = (
                is_blend
                and not faint
                and self._is_calm(number - reach, -1, length)
                and self._is_calm(number + reach, 1, length)
            )
            if is_blend and _likeness(before, after) < LEAST_LIKENESS and _are_two_scenes(before, after):
                return True
        return False

    def _is_calm(self, number: int, direction: int, length: float) -> bool:
        """Whether little happens on the far side of a frame, measured against a dissolve's squared length."""
        near, far = self._at(number), self._at(number + direction * SIDE_FRAMES)
        if near is None or far is None or far.flat:
            return False
        return float(((near.colours - far.colours) ** 2).sum()) < SIDE_REST**2 * length

    def _emerges(self, number: int) -> bool:
        """Whether a picture comes out of a flat one: slowly, as ThresholdDetector reports, or at once."""
        here, before = self._at(number), self._at(number - 1)
        if number in self._emerging:
            return True
        out_of_blank = before is not None and here is not None and before.extreme and not here.extreme
        return out_of_blank and number in self._proposed

    def _flat_since(self, number: int) -> int:
        """The first frame of the flat stretch that ends right before a frame, as far back as is remembered."""
        first = number
        while (before := self._at(first - 1)) is not None and before.flat:
            first -= 1
        return first

    def _seen_before(self, number: int) -> bool:
        """Whether there was a picture before: what emerges at a movie's start starts no second shot."""
        return self._first_seen is not None and self._first_seen < number

    def _at(self, number: int) -> _Sign | None:
        place = number - self._seen + len(self._signs)
        return self._signs[place] if 0 <= place < len(self._signs) else None

    def _beside_flat(self, number: int) -> bool:
        """Whether the frame fades into black or white, or has just emerged from it."""
        before, *after = [self._at(number + i) for i in range(-1, SLOPE_FRAMES)]
        fades_out = any(one is not None and one.extreme for one in after)
        if fades_out and ((after[0] and after[0].extreme) or not (before and before.extreme)):
            return True
        return any(number - i in self._emerging for i in range(1, SLOPE_FRAMES + 1))

    def _is_flash(self, number: int) -> bool:
        """Whether the flat stretch before an emerging picture was short, with the same scene on both sides."""
        first = self._flat_since(number)
        if number - first > self._config.flash_frames:
            return False
        return self._any_same(range(first - 3, first), range(number, number + self._config.flash_frames + 1))

    def _same_scene_around(self, number: int) -> bool:
        reach = self._config.flash_frames
        return any(
            self._any_same(range(number - back, number - back + 1), range(number, number + reach + 2 - back))
            for back in range(1, reach + 2)
        )

    def _any_same(self, before: range, after: range) -> bool:
        firsts = [one for i in before if (one := self._at(i)) is not None]
        seconds = [one for i in after if (one := self._at(i)) is not None]
        return any(self._same(first, second) for first in firsts for second in seconds)

    def _same(self, first: _Sign, second: _Sign) -> bool:
        change = float(np.abs(first.colours - second.colours).mean())
        if first.flat or second.flat:  # the hash of a flat picture is noise
            return change < self._config.same_scene_change / 2
        if change < HARDLY_CHANGED * min(first.contrast, second.contrast) or _likeness(first, second) > SURE_LIKENESS:
            return True
        alike = float(np.mean(first.bits != second.bits)) < self._config.same_scene_hash
        return alike and change < self._config.same_scene_change


def _likeness(first: _Sign, second: _Sign) -> float:
    """Correlation of two pictures' middles, -1 to 1: 1 for the same scene in any light, however faint."""
    middles = [sign.colours[4:14, 4:28].ravel() for sign in (first, second)]
    return float(np.corrcoef(middles)[0, 1]) if min(middle.std() for middle in middles) > 0 else 1.0


def _are_two_scenes(before: _Sign, after: _Sign) -> bool:
    """Whether ContentDetector, as it comes, sees a cut between two frames."""
    detector = ContentDetector(min_scene_len=0)
    detector.process_frame(FrameTimecode(0, CLOCK), before.colours.astype(np.uint8))
    return bool(detector.process_frame(FrameTimecode(1, CLOCK), after.colours.astype(np.uint8)))


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightness of the picture's middle, where no black bars, subtitles or logos are."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    return np.asarray(grey[height // 5 : height - height // 5, width // 5 : width - width // 5])
