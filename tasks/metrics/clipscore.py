"""CLIPScore and RefCLIPScore (Hessel et al. 2021): how alike are picture and caption to a dual encoder?

CLIPScore is 2.5 times their cosine, at least 0; RefCLIPScore the harmonic mean of it and the highest cosine of caption
and a reference. Published figures are from CLIP ViT-B/32: other encoders give other numbers.
"""

import numpy as np

from tasks.corpora import Corpus, Models, digest
from tasks.metrics import CorpusMetric, Measured
from tasks.resampling import Statistics, of_sums_is_a_mean

WEIGHT = 2.5
PREFIX = "A photo depicts "
"""The prompt of CLIPScore's own code."""
NO_REFERENCES = "no frame with a caption has references; add them with `caption-movies references FILE`"


def measure(corpus: Corpus) -> Measured:
    """Means over captions; RefCLIPScore over those of frames with references."""
    from tasks.embedded_captions import embed  # brings torch

    found = embed(corpus)
    rows = [found.picture_of[frame_id] for frame_id, _ in found.told]
    cosines = np.einsum("ij,ij->i", found.captions, found.pictures[rows]).astype(np.float64)
    scores = WEIGHT * np.maximum(cosines, 0)
    closest = np.maximum(np.array(found.best_reference), 0)  # NaN stays
    total = scores + closest
    with_references = np.divide(2 * scores * closest, total, out=np.where(total > 0, 0.0, closest), where=total > 0)
    referenced = np.isfinite(with_references)
    table = np.column_stack([np.ones(len(scores)), scores, referenced, np.where(referenced, with_references, 0.0)])
    all_of_them, some = of_sums_is_a_mean(["clipscore"]), of_sums_is_a_mean(["refclipscore"])
    values = {"clipscore": float(scores.mean())}
    if referenced.any():
        values["refclipscore"] = float(with_references[referenced].mean())
    return Measured(
        corpus=values,
        each={"clipscore": scores.tolist(), "refclipscore": with_references.tolist()},
        statistics=Statistics(table, lambda sums: all_of_them(sums[:, :2]) | some(sums[:, 2:])),
        reasons={"refclipscore": NO_REFERENCES},
    )


def missing(models: Models) -> str | None:
    """What is not configured."""
    if models.dual_encoder:
        return None
    return (
        "no dual encoder is chosen; set score.dual_encoder to a hub id or folder, such as openai/clip-vit-base-patch32"
    )


def weights(models: Models) -> dict[str, str]:
    """Digest of the dual encoder."""
    return digest(models.dual_encoder)


METRIC = CorpusMetric(
    name="clipscore",
    values={
        "clipscore": "2.5 x cosine of picture and caption, at least 0, mean over captions",
        "refclipscore": "harmonic mean of it and the highest cosine of caption and a reference, mean over captions",
    },
    higher_is_better=True,
    highest={"clipscore": 2.5, "refclipscore": 10 / 7},
    convention=f"prompt '{PREFIX.strip()}', texts cut at the encoder's length; a failed caption has 0",
    reads="captions, frames, references",
    measure=measure,
    missing=missing,
    weights=weights,
    libraries=("transformers",),
)
