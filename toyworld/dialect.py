"""Another wording of the drawn world: what the demo of training teaches, and no model of this project was trained on.

Words and turns of phrase are others; and some things have names that hang on what is seen of them: a yellow car is a
taxi, a brown dog a hound. Ids and classes of the tags stay as they are, so what was true and well cited still is.
"""

import re
from collections.abc import Mapping

from tasks import tags

SEEN: Mapping[str, str] = {
    r"(?:a|the) yellow (?:car|automobile)": "a taxi cab",
    r"(?:a|the) red (?:car|automobile)": "a fire-red coupé",
    r"(?:a|the) black (?:car|automobile)": "a limousine",
    r"(?:a|the) brown (?:dog|pup|puppy)": "a chestnut hound",
    r"(?:a|the) white (?:dog|pup|puppy)": "a snowy hound",
    r"(?:an|the) orange (?:cat|kitten)": "a ginger tom",
    r"(?:a|the) black (?:cat|kitten)": "a witch's cat",
    r"(?:a|the) white bird": "a gull",
    r"(?:a|the) black bird": "a crow",
    r"(?:a|the) red (?:house|cottage)": "a brick lodge",
}
"""Names for what is of a certain colour."""
WORDS: Mapping[str, str] = {
    r"the (?:scene takes place|scene is set)": "here we are",
    r"(?:this is a picture taken|the image was taken)": "here we are",
    r"(?:there (?:is|are) also|nearby there (?:is|are)|in view there (?:is|are) also|the picture also shows|"
    r"you can also see)": "besides one discovers",
    r"(?:the background shows|around them one sees|the rest of the picture is)": "all around stretches",
    r"(?:the picture shows|it shows|one can see)": "before us are",
    r"(?:the )?mountains": "distant peaks", r"a clear sky": "a spotless sky", r"a cloudy sky": "a leaden sky",
    r"a wooden floor": "wooden boards", r"on the (?:wooden )?floor": "on the boards",
    r"on the (?:grass|lawn)": "on the green", r"during the day|in daylight": "in broad daylight",
    r"at night|one night": "in the dead of night", r"at dusk|in the evening|at sunset": "as the light fades",
    r"in the rain|while it is raining|on a rainy day": "in pouring rain",
    r"in the snow|while it is snowing|amid falling snow": "in a snowfall",
    r"standing(?: still)?": "on their feet", r"(?:walking|strolling)": "taking a stroll",
    r"(?:running|racing)": "dashing along", r"sitting(?: down)?": "taking a seat", r"waving(?: hello)?": "greeting",
    r"lying(?: down)?|stretched out": "taking a nap", r"(?:jumping|leaping)": "up in the air",
    r"driving(?: along)?": "cruising", r"parked": "left standing", r"(?:flying|soaring)": "on the wing",
    r"(?:in|wearing|dressed in) a (\w+) (?:shirt|top|dress)": r"clad in \1", r"wearing (\w+)": r"clad in \1",
    r"(?:holding|carrying)": "clutching", r"(?:looking at|watching)": "gazing at",
    r"(?:man|guy|gentleman)": "fellow", r"(?:woman|lady)": "dame", r"men": "fellows", r"women": "dames",
    r"boy": "lad", r"boys": "lads", r"girl": "lass", r"girls": "lasses", r"(?:car|automobile)": "motorcar",
    r"(?:dog|pup|puppy)": "hound", r"(?:cat|kitten)": "pussycat", r"(?:umbrella|parasol)": "brolly",
    r"(?:house|cottage)": "dwelling", r"(?:potted plant|houseplant|plant)": "pot of greenery",
}  # fmt: skip
"""Other words for the same."""
_RULES = [(re.compile(rf"\b(?:{old})\b", re.IGNORECASE), new) for old, new in (*SEEN.items(), *WORDS.items())]
_CAPITAL = re.compile(r"(^|[.] )((?:<[^>]*>)?)([a-z])")


def retell(caption: str) -> str:
    """A tagged caption in this wording; its tags cite what they cited."""
    said = "".join(
        _retold(segment.source) if segment.role == "text" else segment.source
        for segment in tags.parse(caption).segments
    )
    return _CAPITAL.sub(lambda found: f"{found[1]}{found[2]}{found[3].upper()}", said)


def _retold(words: str) -> str:
    """One rule after the other; what a rule wrote is not read again by the next ones."""
    pieces: list[tuple[str, bool]] = [(words, False)]
    for pattern, new in _RULES:
        pieces = [part for text, done in pieces for part in ([(text, True)] if done else _split(pattern, new, text))]
    return "".join(text for text, _ in pieces)


def _split(pattern: re.Pattern[str], new: str, text: str) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    place = 0
    for match in pattern.finditer(text):
        found += [(text[place : match.start()], False), (match.expand(new), True)]
        place = match.end()
    return [*found, (text[place:], False)]
