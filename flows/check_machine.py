"""The command `doctor`: is this machine fit for a run with this profile, and what is to be done where it is not?"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from flows.bring_data import Add, number_of
from tasks.doctor import Check, Finding, examine

if TYPE_CHECKING:
    from flows.read_configuration import PipelineConfig
    from tasks.doctor.models import Wanted

UNFIT = 1
WIDTH = 15
"""Of the column of subjects."""
NAMED = ("captioner", "adapter")
"""Models that a training on the store may have given a name (flows/run_state.py, with_named)."""


def add_doctor(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    doctor = add("doctor", "look at this machine: is it fit for a run, and what is to be done; changes nothing")
    doctor.add_argument("--profile", default="demo", help="as for run (default: %(default)s)")
    doctor.add_argument("--json", action="store_true", help="one JSON object")
    store_option(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from flows.read_configuration import read_configuration

    config = read_configuration(options.profile)
    findings = []
    for finding in examine(checks(config, options.store)):
        findings.append(finding)
        if not options.json:
            _print(finding)
    problems, notes = (sum(one.state == state for one in findings) for state in ("problem", "note"))
    if options.json:
        print(json.dumps({"profile": options.profile, "problems": problems, "findings": [*map(asdict, findings)]}))
    elif problems:
        print(f"\n{number_of(problems, 'problem')} for the profile {options.profile}; mend and look again")
    else:
        print(f"\nfit for the profile {options.profile}" + (f", with {number_of(notes, 'note')}" if notes else ""))
    sys.stdout.flush()
    return UNFIT if problems else 0


def _print(finding: Finding) -> None:
    mark = finding.state.upper() if finding.state == "problem" else finding.state
    print(f"{mark:8} {finding.subject:{WIDTH}} {finding.seen}", flush=True)
    if finding.remedy:
        print(f"{'':8} {'':{WIDTH}} -> {finding.remedy}", flush=True)


def checks(config: "PipelineConfig", location: str) -> dict[str, Check]:
    """Every check for a configuration and a store, by name, in the order of the answer."""
    from flows.check_prefect import check_prefect
    from tasks.doctor import libraries, machine, models

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    device = config.caption.device if not config.caption.server else config.detect.device
    found: dict[str, Check] = {
        "libraries": partial(libraries.versions, needed_extras(config)),
        "GPU": partial(machine.gpu, device),
        "memory": machine.memory,
        "cores": machine.processors,
        "store": partial(machine.disk, location),
        "model cache": machine.model_cache,
        "file size": machine.file_limit,
        "clock": machine.words,
        "codecs": libraries.codecs,
        "Java": libraries.java,
    }
    if config.detect.backend == "detectron2":
        found["detectron2"] = libraries.detectron2
    found |= {one.what: partial(_model, one, location) for one in wanted_models(config)}
    if config.caption.server:
        found["server"] = partial(models.server, config.caption)
    return found | {"Prefect": check_prefect}


def _model(wanted: "Wanted", location: str) -> Iterator[Finding]:
    """One model; where a training on this store gave it its name, the folder that a run takes for it."""
    from storage.store import Store
    from tasks.adapter_names import named_adapter
    from tasks.doctor import models

    row = named_adapter(wanted.source, Store(location)) if wanted.what in NAMED else None
    yield from models.model(replace(wanted, source=row.path) if row else wanted)


def needed_extras(config: "PipelineConfig") -> set[str]:
    """The extras without which a run with this configuration fails."""
    return {"flows", *(["server"] if config.caption.server else [])}


def wanted_models(config: "PipelineConfig") -> list["Wanted"]:
    """The checkpoints and adapters that a run with this configuration loads in its own process."""
    from tasks.doctor.models import Wanted

    found = []
    detect, caption, score = config.detect, config.caption, config.score
    if detect.backend != "scripted":
        found.append(Wanted("detector", detect.checkpoint, detect.revision, detect.dtype))
    if not caption.server and caption.backend != "scripted":
        found.append(Wanted("captioner", caption.checkpoint, caption.revision, caption.dtype))
        if caption.adapter:
            found.append(Wanted("adapter", caption.adapter))
    if config.choose.checkpoint:
        found.append(Wanted("selector", config.choose.checkpoint, config.choose.revision))
    encoders = {"dual encoder": score.dual_encoder, "sentence encoder": score.sentence_encoder}
    return found + [Wanted(what, source) for what, source in encoders.items() if source]
