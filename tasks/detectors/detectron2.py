"""Panoptic FPN and its kin through detectron2, where that is installed. See docs/detectron2.md.

The checkpoint is a folder with config.yaml (detectron2's) and model.safetensors: detectron2's own .pkl files are
pickles, which run code on loading, and are converted once.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.checkpoints import Checkpoint, find_checkpoint
from tasks.coco_panoptic import LABELS
from tasks.detectors import DetectConfig
from tasks.errors import CheckpointError, MissingExtraError
from tasks.masks import encode_regions
from tasks.object_naming import Segment, clean_label

CONFIG = "config.yaml"
INSTALL = "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
STUFF_SCORE = 1.0
"""detectron2's panoptic FPN gives stuff no score; what is written is its decision."""


def digest(config: DetectConfig) -> str:
    """Of the weights and config.yaml."""
    return _find(config).digest


def _find(config: DetectConfig) -> Checkpoint:
    checkpoint = find_checkpoint(config.checkpoint, config.revision)
    if not (checkpoint.folder / CONFIG).is_file():
        raise CheckpointError(f"{config.checkpoint} has no {CONFIG}. docs/detectron2.md says how to make the folder.")
    return checkpoint


def load(config: DetectConfig) -> "Detectron2":
    """Load the model.

    Raises MissingExtraError without detectron2 or its torchvision, CheckpointError, and TransientError when memory does
    not suffice.
    """
    try:
        # Several of its modules need torchvision's compiled part, so that is what tells whether it is there.
        configs, data, modeling, transforms = (
            importlib.import_module(f"detectron2.{name}") for name in ("config", "data", "modeling", "data.transforms")
        )
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError("the detectron2 detector", f"detectron2 ({error})", INSTALL) from error
    from safetensors.torch import load_file

    from tasks.accelerator import loading, pick_device

    checkpoint = _find(config)
    settings = configs.get_cfg()
    try:
        settings.merge_from_file(str(checkpoint.folder / CONFIG), allow_unsafe=False)
        settings.MODEL.DEVICE = str(pick_device(config.device))
        settings.MODEL.WEIGHTS = ""
        settings.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = config.threshold
        with loading(config.checkpoint):
            model = modeling.build_model(settings).eval()
            model.load_state_dict(_weights(checkpoint.folder, load_file))
    except (AssertionError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{config.checkpoint} does not load as a detectron2 model: {error}") from error
    size = settings.INPUT
    resize = transforms.ResizeShortestEdge([size.MIN_SIZE_TEST] * 2, size.MAX_SIZE_TEST)
    metadata = data.MetadataCatalog.get(settings.DATASETS.TRAIN[0])
    names = Names(list(metadata.thing_classes), list(metadata.stuff_classes))
    return Detectron2(model, resize, size.FORMAT == "BGR", names, checkpoint.digest)


def _weights(folder: Path, load_file: Any) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


@dataclass(frozen=True)
class Names:
    """detectron2 numbers things and stuff apart; each list is by its own category_id."""

    things: list[str]
    stuff: list[str]

    def find(self, info: Mapping[str, Any]) -> str:
        """The name of a segment's category."""
        names = self.things if info["isthing"] else self.stuff
        return names[int(info["category_id"])]

    @property
    def labels(self) -> list[str]:
        """COCO's 133 when these are COCO's, however shortened; else things, then stuff, the group "things" left out."""
        known = {clean_label(name) for name in LABELS}
        own = [name for name in [*self.things, *self.stuff] if name != "things"]
        return list(LABELS) if {clean_label(name) for name in own} == known else own


def to_segments(regions: NDArray[np.integer], infos: Sequence[Mapping[str, Any]], names: Names) -> list[Segment]:
    """detectron2's `panoptic_seg`, a map (height, width) of segment ids and their segments_info, as segments.

    0 and -1 in the map are void. Ids are counted anew from 1 in the order of their own. Stuff has no score there, and
    gets STUFF_SCORE.
    """
    labels = names.labels
    index = {clean_label(label): number for number, label in enumerate(labels)}
    infos = sorted(infos, key=lambda info: int(info["id"]))
    masks = encode_regions(regions, [int(info["id"]) for info in infos])
    segments: list[Segment] = []
    for info, mask in zip(infos, masks, strict=True):
        if mask.area_px:
            category_id = index[clean_label(names.find(info))]
            segments.append(
                Segment(
                    segment_id=len(segments) + 1,
                    category_id=category_id,
                    label=labels[category_id],
                    is_thing=bool(info["isthing"]),
                    score=round(float(info.get("score", STUFF_SCORE)), 6),
                    mask=mask,
                )
            )
    return segments


@dataclass
class Detectron2:
    """A loaded model. See tasks.detectors.Detector."""

    model: Any
    resize: Any
    is_bgr: bool
    names: Names
    digest: str

    @property
    def labels(self) -> list[str]:
        """Every label it can say."""
        return self.names.labels

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Segment]]:
        """The segments of each picture. One at a time: detectron2 pads a batch, and an answer would hang on it."""
        return [self._look(image) for image in images]

    def _look(self, image: NDArray[np.uint8]) -> list[Segment]:
        import torch

        from tasks.accelerator import device_errors

        height, width = image.shape[:2]
        ordered = image[:, :, ::-1] if self.is_bgr else image
        pixels = self.resize.get_transform(ordered).apply_image(ordered)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32))
        with device_errors(), torch.inference_mode():
            (said,) = self.model([{"image": tensor, "height": height, "width": width}])
            regions, infos = said["panoptic_seg"]
            return to_segments(regions.cpu().numpy(), infos, self.names)
