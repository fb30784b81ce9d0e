"""The configuration of a whole run: one dataclass per stage, read from a profile.

A profile is a TOML file with a section per stage. Ready ones stand in flows/profiles/ and go by their file's name. A
checkpoint or adapter that begins with a dot is a path beside the profile's file, one with ~ in the home folder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from flows.read_toml import beside, check_section, read_toml, ready_files
from tasks import captioners, detectors
from tasks.captions import CaptionConfig, captioner_name
from tasks.checkpoints import looks_local
from tasks.choices import ChooseConfig
from tasks.detections import DetectConfig
from tasks.errors import ConfigError, UnknownNameError
from tasks.frames import FramesConfig
from tasks.mending import MendConfig
from tasks.scores import ScoreConfig


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """What every stage is told. Changing a value makes that stage and the ones after it work anew, nothing before."""

    frames: FramesConfig = field(default_factory=FramesConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    caption: CaptionConfig = field(default_factory=CaptionConfig)
    mend: MendConfig = field(default_factory=MendConfig)
    choose: ChooseConfig = field(default_factory=ChooseConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


def profiles() -> dict[str, Path]:
    """The ready profiles by name."""
    return ready_files("profiles")


def read_configuration(source: "str | PipelineConfig") -> PipelineConfig:
    """A ready profile by name, a TOML file by its path, or a configuration as it is.

    Raises UnknownNameError for a profile, section, key or backend that is not there, and ConfigError for an impossible
    value, or a path where nothing is.
    """
    if isinstance(source, PipelineConfig):
        return source
    config, said, path = read_toml(source, PipelineConfig, "profile", profiles(), _check_keys)
    config = _beside(config, path.parent)
    _check_backends(config)
    _check_paths(config, said, path)
    return config


def _check_keys(said: dict[str, Any], path: Path) -> None:
    sections = get_type_hints(PipelineConfig)
    for section, values in said.items():
        if section not in sections:
            raise UnknownNameError(f"section in {path.name}", section, list(sections))
        check_section(sections[section], section, values, path)


def _beside(config: PipelineConfig, folder: Path) -> PipelineConfig:
    detect = replace(config.detect, checkpoint=beside(config.detect.checkpoint, folder))
    choose = replace(config.choose, checkpoint=beside(config.choose.checkpoint, folder))
    config = replace(config, detect=detect, choose=choose)
    if config.caption.server:
        return config  # names at the server, whatever they look like
    adapter = config.caption.adapter and beside(config.caption.adapter, folder)
    caption = replace(config.caption, checkpoint=beside(config.caption.checkpoint, folder), adapter=adapter)
    return replace(config, caption=caption)


def _check_backends(config: PipelineConfig) -> None:
    for kind, name, known in (
        ("detector", config.detect.backend, detectors.available()),
        ("captioner", config.caption.backend, captioners.available()),
    ):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    if config.choose.among and (mine := captioner_name(config.caption)) not in config.choose.among:
        raise ConfigError(f"[choose] among is {list(config.choose.among)}, and this captioner {mine!r} is not in it.")


def _check_paths(config: PipelineConfig, said: dict[str, Any], profile: Path) -> None:
    """What is meant as a path has to be there: else the hub would be asked for it, much later."""
    keys = [("detect", "checkpoint"), ("choose", "checkpoint")]
    for section, key in keys if config.caption.server else [*keys, ("caption", "checkpoint"), ("caption", "adapter")]:
        value = getattr(getattr(config, section), key)
        if not value or not looks_local(value) or (place := Path(value).expanduser()).exists():
            continue
        ready = " It comes with the project: get that anew." if profile in profiles().values() else ""
        raise ConfigError(
            f"{profile}: [{section}] {key} = {said[section][key]!r} is a path, and nothing is at {place.absolute()}. "
            "A path that begins with a dot counts from the profile's own folder, any other from the current one. "
            f"Correct it, or give a hub id (owner/name).{ready}"
        )
