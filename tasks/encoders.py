"""Models that turn texts and pictures into vectors, from a hub id or a folder: safetensors, and no code of theirs."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.accelerator import device_errors, loading, pick_device
from tasks.checkpoints import find_checkpoint, looks_local
from tasks.errors import CheckpointError, TransientError

UNLOADABLE = (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, AttributeError)
"""What transformers raises on files that it cannot make a model of."""
POOLINGS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class DualEncoder:
    """A model that embeds pictures and texts into one space, such as CLIP, SigLIP or ALIGN."""

    model: Any
    tokenizer: Any
    pictures: Any
    device: torch.device
    longest: int
    """Tokens of a text; the rest is cut off."""

    @classmethod
    def load(cls, source: str, device: str = "auto", revision: str | None = None) -> "DualEncoder":
        """Raises CheckpointError when it is no such model, ConfigError for a device that is not there."""
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        folder, where = find_checkpoint(source, revision).folder, pick_device(device)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            auto: Any = AutoImageProcessor
            pictures = auto.from_pretrained(folder, local_files_only=True, backend="pil")
        except UNLOADABLE as error:
            raise CheckpointError(f"{source}: no tokenizer and image processor can be read: {error}") from error
        model = _model(AutoModel, source, folder, where)
        for name in ("get_text_features", "get_image_features"):
            if not hasattr(model, name):
                raise CheckpointError(
                    f"{source} is a {type(model).__name__}, which does not embed pictures and texts. Give a dual "
                    "encoder, such as CLIP or SigLIP."
                )
        return cls(model, tokenizer, pictures, where, _longest(tokenizer, model.config))

    def of_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, dimensions), each of length 1."""
        # SigLIP was trained on texts filled up to the full length; CLIP's do not depend on it
        filled = "max_length" if "siglip" in str(self.model.config.model_type) else True
        given = self.tokenizer(
            list(texts), padding=filled, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        return self._vectors(self.model.get_text_features, given)

    def of_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> Vectors:
        """Of RGB pictures (height, width, 3): (pictures, dimensions), each of length 1."""
        given = self.pictures(images=list(pictures), return_tensors="pt")
        return self._vectors(self.model.get_image_features, given)

    def _vectors(self, embed: Any, given: Any) -> Vectors:
        with torch.inference_mode(), device_errors():
            found = embed(**given.to(self.device))
        vectors: Vectors = getattr(found, "pooler_output", found).float().cpu().numpy()
        return unit(vectors)


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


@dataclass(frozen=True)
class SentenceEncoder:
    """A sentence-transformers model of one transformer and one pooling, read without that package."""

    model: Any
    tokenizer: Any
    device: torch.device
    pooling: str
    normalised: bool
    longest: int

    @classmethod
    def load(cls, source: str, device: str = "auto") -> "SentenceEncoder":
        """Raises CheckpointError when it is no such model, or has modules beyond those."""
        from transformers import AutoModel, AutoTokenizer

        folder, where = find_checkpoint(source).folder, pick_device(device)
        modules = _json(folder / "modules.json", source)
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
        if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"} or modules[0].get("path"):
            raise CheckpointError(
                f"{source} is made of {', '.join(kinds) or 'nothing'}; a Transformer in the folder itself, Pooling and "
                "Normalize can be used. Choose another sentence encoder, such as thenlper/gte-small."
            )
        pooling = _pooling(source, folder, str(modules[1].get("path", "1_Pooling")))
        limits = folder / "sentence_bert_config.json"
        longest = _json(limits, source).get("max_seq_length") if limits.is_file() else None
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except UNLOADABLE as error:
            raise CheckpointError(f"{source}: its tokenizer cannot be read: {error}") from error
        model = _model(AutoModel, source, folder, where, unneeded=("pooler",))
        longest = min(longest or 10**6, _longest(tokenizer, model.config))
        return cls(model, tokenizer, where, pooling, "Normalize" in kinds, longest)

    def of_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, dimensions)."""
        given = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode(), device_errors():
            states = self.model(**given).last_hidden_state
            if self.pooling == "cls":
                found = states[:, 0]
            else:
                mask = given["attention_mask"].unsqueeze(-1).to(states.dtype)
                found = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        vectors: Vectors = found.float().cpu().numpy()
        return unit(vectors) if self.normalised else vectors


def _pooling(source: str, folder: Path, path: str) -> str:
    """How the tokens' vectors become one. Of a hub id the file is fetched: subfolders are not among its weights."""
    file = folder / path / "config.json"
    if not file.is_file() and not looks_local(source) and not Path(source).is_dir():
        file = _fetched(source, f"{path}/config.json")
    said = _json(file, source)
    used = [name for name, key in POOLINGS.items() if said.get(key)]
    others = [key for key, value in said.items() if key.startswith("pooling_mode_") and value]
    if len(used) != 1 or len(others) != 1:
        raise CheckpointError(f"{source} pools by {', '.join(others) or 'nothing'}; one of cls and mean is needed.")
    return used[0]


def _fetched(source: str, name: str) -> Path:
    import httpx2
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source, name))
    except (httpx2.TransportError, ConnectionError, TimeoutError) as error:
        raise TransientError(f"the hub cannot be reached for {source}/{name}: {error}") from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{source} has no {name}: {error}") from error


def _json(file: Path, source: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{source} is no sentence-transformers model: {file.name} cannot be read ({error})."
        ) from error


def _model(auto: Any, source: str, folder: Path, device: torch.device, unneeded: Sequence[str] = ()) -> Any:
    """The model with its weights, ready to be asked. Raises CheckpointError where weights are missing."""
    try:
        with loading(source), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = auto.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            model = model.to(device).eval()
    except UNLOADABLE as error:
        raise CheckpointError(f"{source} cannot be loaded: {error}") from error
    unneeded = ("position_ids", *unneeded)  # those are counted, not learnt
    if missing := sorted(name for name in report["missing_keys"] if not any(part in name for part in unneeded)):
        raise CheckpointError(f"{source} lacks {len(missing)} tensors of its class, such as {missing[0]}.")
    return model


def _longest(tokenizer: Any, config: Any) -> int:
    """Tokens that a text may have: the least of what tokenizer and model say."""
    text = getattr(config, "text_config", config)
    said = [tokenizer.model_max_length, getattr(text, "max_position_embeddings", None)]
    return int(min(one for one in said if one))
