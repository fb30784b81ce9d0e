"""Small stores to learn from: drawn movies with true detections and captions, and recipes for them."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

from storage.store import Store
from storage.tables import Detection, Frame
from tasks.captioners import CaptionConfig
from tasks.references import write_references
from tasks.training.recipes import DataConfig, LoraRecipe, Recipe, StageRecipe, ValidateConfig
from toyworld.movie_plans import plan_movie
from toyworld.truth import write_truth

TEXT_MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
SIZE = (96, 64)
CAPTIONER = Path(__file__).parents[1] / "toyworld" / "checkpoints" / "captioner"
SHORT = "short"


@cache
def movie_store(folder: Path, movies: int = 5, shots: int = 1) -> Store:
    """Movies of one shot and three frames, with references by `automatic`, `human` and, in few plain words, SHORT."""
    store = Store(str(folder / "store"))
    for seed in range(movies):
        plan = plan_movie(seed, seconds=shots * 3, shots=shots, size=SIZE)
        path = folder / f"movie-{seed}.mp4"
        path.write_bytes(f"stands for the drawn movie {seed}".encode())  # no stage decodes it here
        frames = write_truth(plan, path, store)
        detections = store.ref("detections", frames.shard)
        assert detections
        labels: dict[str, list[str]] = {}
        for one in store.read(detections, Detection):
            labels.setdefault(one.frame_id, []).append(one.label)
        told = [(frame_id, f"the {' and '.join(some[:4])} on the floor.") for frame_id, some in labels.items()]
        write_references(frames.shard.partition("/")[0], told, store, SHORT)
    return store


def copy_of(store: Store, folder: Path) -> Store:
    """The same store once more, to be changed."""
    shutil.copytree(store.location, folder / "copy")
    return Store(str(folder / "copy"))


def stage(name: str = "automatic", **changes: object) -> StageRecipe:
    """Two passes over the captions of the source of that name."""
    made = StageRecipe(
        name=name, sources=(name,), epochs=2, learning_rate=1e-3, batch=4, micro_batch=2, log_steps=1, patience=0
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def pixtral_recipe(*stages: StageRecipe, **changes: object) -> Recipe:
    """LoRA with dropout on the text model, and rows of tokens: what is drawn by chance has to be drawn again."""
    caption = CaptionConfig(
        name="learner", backend="pixtral", checkpoint=str(CAPTIONER), template="groundcap-story", max_new_tokens=24,
        device="cpu", batch_size=8,
    )  # fmt: skip
    made = Recipe(
        caption=caption,
        stage=stages or (stage(),),
        lora=LoraRecipe(rank=4, alpha=8, dropout=0.1, targets=TEXT_MODULES, train_tokens=True),
        data=DataConfig(validation=0.2, test=0.2),
        validate=ValidateConfig(frames=4),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def plain_recipe(backend: str, checkpoint: Path, *stages: StageRecipe, **changes: object) -> Recipe:
    """A captioner that is asked without detections, validated by sacrebleu."""
    template = "a-photo-of" if backend == "blip2" else "plain"
    caption = CaptionConfig(
        name=backend, backend=backend, checkpoint=str(checkpoint), template=template, max_new_tokens=12, num_beams=1,
        device="cpu", batch_size=8,
    )  # fmt: skip
    made = Recipe(
        caption=caption,
        stage=stages or (stage(SHORT),),
        data=DataConfig(validation=0.2, test=0.2),
        validate=ValidateConfig(metric="sacrebleu", frames=4),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def first_frame(store: Store) -> Frame:
    """Some frame of the store."""
    path = store.files.under("frames")[0]
    ref = store.ref("frames", path.removeprefix("frames/movie_id=").removesuffix(".parquet"))
    assert ref
    return next(iter(store.read(ref, Frame)))
