"""Mask2Former through transformers. Works with torchvision and without it, and gives the same answers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoImageProcessor, Mask2FormerForUniversalSegmentation

from tasks.accelerator import device_errors, loading, pick_device, pick_dtype
from tasks.checkpoints import find_checkpoint
from tasks.coco_panoptic import STUFF
from tasks.detectors import DetectConfig
from tasks.errors import CheckpointError
from tasks.masks import encode_regions
from tasks.object_naming import Segment, clean_label
from tasks.panoptic import Content, PanopticMap, panoptic_map

Picture = NDArray[np.uint8]
CONFIGURATIONS = logging.getLogger("transformers.models.mask2former.configuration_mask2former")


def digest(config: DetectConfig) -> str:
    """Of the checkpoint's files."""
    return find_checkpoint(config.checkpoint, config.revision).digest


def load(config: DetectConfig) -> "Mask2Former":
    """Load the checkpoint onto the device.

    Raises CheckpointError when it is not a Mask2Former, TransientError when memory does not suffice.
    """
    checkpoint = find_checkpoint(config.checkpoint, config.revision)
    device = pick_device(config.device)
    auto: Any = AutoImageProcessor
    kind: Any = Mask2FormerForUniversalSegmentation
    CONFIGURATIONS.addFilter(_is_no_backbone)
    try:
        # Always Pillow's: torchvision's resizing rounds otherwise, and it may be installed on one machine only.
        processor = auto.from_pretrained(checkpoint.folder, backend="pil")
        with loading(config.checkpoint):
            model, report = kind.from_pretrained(
                checkpoint.folder,
                use_safetensors=True,
                dtype=pick_dtype(config.dtype, device),
                output_loading_info=True,
            )
            model.to(device).eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{config.checkpoint} does not load as a Mask2Former: {error}") from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{config.checkpoint} lacks {len(missing)} of the model's weights, {missing[0]} among them. "
            "Is it a checkpoint of Mask2FormerForUniversalSegmentation?"
        )
    labels = [model.config.id2label[index] for index in range(len(model.config.id2label))]
    return Mask2Former(model, processor, labels, things_of(model.config, labels), checkpoint.digest, config)


def _is_no_backbone(record: logging.LogRecord) -> bool:
    """transformers warns of every backbone but Swin, working ones too; what a checkpoint lacks is an error of ours."""
    return "is not a supported model" not in record.getMessage()


def things_of(config: Any, labels: Sequence[str]) -> list[bool]:
    """Whether each category is a thing.

    transformers' configuration does not say. A checkpoint may, as a list `thing_ids` in its config.json; otherwise a
    category is stuff when COCO has stuff of that name, and a thing when not.
    """
    if (things := getattr(config, "thing_ids", None)) is not None:
        return [index in set(things) for index in range(len(labels))]
    stuff = {clean_label(name) for name in STUFF}
    return [clean_label(label) not in stuff for label in labels]


@dataclass
class Mask2Former:
    """A loaded checkpoint. See tasks.detectors.Detector."""

    model: Any
    processor: Any
    labels: list[str]
    things: list[bool]
    digest: str
    config: DetectConfig

    def __call__(self, images: Sequence[Picture]) -> list[list[Segment]]:
        """The segments of each picture."""
        prepared = [_prepare(self.processor, image) for image in images]
        found: dict[int, list[Segment]] = {}
        # Pictures that the processor leaves unlike in size are not padded to each other but go in turns: no wasted
        # work, and no picture's answer hangs on its neighbours.
        for indices in _by_shape([pixels for pixels, _ in prepared]):
            inputs = [prepared[index] for index in indices]
            sizes = [images[index].shape[:2] for index in indices]
            with device_errors():
                found |= zip(indices, self._forward(inputs, sizes), strict=True)
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def _forward(
        self, inputs: Sequence[tuple[torch.Tensor, Content | None]], sizes: Sequence[tuple[int, int]]
    ) -> list[list[Segment]]:
        pixels = torch.stack([pixels for pixels, _ in inputs]).to(self.model.device, self.model.dtype)
        said = self.model(pixel_values=pixels)
        found = []
        for index, ((_, content), size) in enumerate(zip(inputs, sizes, strict=True)):
            one = panoptic_map(
                said.class_queries_logits[index],
                said.masks_queries_logits[index],
                size,
                threshold=self.config.threshold,
                mask_threshold=self.config.mask_threshold,
                overlap_mask_area_threshold=self.config.overlap_mask_area_threshold,
                content=content,
            )
            found.append(self._segments(one))
        return found

    def _segments(self, found: PanopticMap) -> list[Segment]:
        # Queries are few hundred at most: 16 bits halve what crosses from the GPU.
        ids = found.ids.to(torch.int16).cpu().numpy()
        masks = encode_regions(ids, [region.segment_id for region in found.regions])
        return [
            Segment(
                segment_id=region.segment_id,
                category_id=region.category_id,
                label=self.labels[region.category_id],
                is_thing=self.things[region.category_id],
                score=region.score,
                mask=mask,
            )
            for region, mask in zip(found.regions, masks, strict=True)
        ]


def _prepare(processor: Any, image: Picture) -> tuple[torch.Tensor, Content | None]:
    """The model's input (3, height, width) for one picture, and where in it the picture lies if it was padded."""
    inputs = processor(images=image, input_data_format="channels_last", return_tensors="pt")
    pixels, mask = inputs["pixel_values"][0], inputs["pixel_mask"][0].bool()
    height, width = int(mask.any(dim=1).sum()), int(mask.any(dim=0).sum())
    padded = (height, width) != tuple(mask.shape)
    return pixels, Content(height, width, *mask.shape) if padded else None


def _by_shape(tensors: Sequence[torch.Tensor]) -> list[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, tensor in enumerate(tensors):
        groups.setdefault(tuple(tensor.shape), []).append(index)
    return list(groups.values())
