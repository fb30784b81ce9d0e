"""One of several processes that train a stage together, a device each: started by accelerate, see `launch`.

accelerate launch --num_processes 2 -m flows.train_worker FOLDER STAGE
"""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

from pydantic import TypeAdapter

from flows.show_steps import told_steps
from storage.store import Store, describe
from tasks.errors import TransientError
from tasks.training.fitting import Job, train_stage
from tasks.training.recipes import Recipe

JOB = "job.json"


def launch(job: Job, index: int, processes: int) -> None:
    """Train a stage in so many processes. Raises TransientError when one of them fails; the next try goes on."""
    said = {"recipe": describe(job.recipe), "store": job.store.location, "fingerprint": job.fingerprint}
    (job.folder / JOB).write_text(json.dumps(said), "utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    ended = subprocess.run([*command, "-m", "flows.train_worker", str(job.folder), str(index)])
    if ended.returncode:
        raise TransientError(
            f"a process of stage {job.recipe.stage[index].name!r} ended with {ended.returncode}; its last words stand "
            "above. Run the same again to go on; when memory does not suffice, with a smaller micro_batch."
        )


def main(folder: str, index: str) -> None:
    """Do this process's part."""
    said = json.loads((Path(folder) / JOB).read_text("utf-8"))
    recipe = TypeAdapter(Recipe).validate_python(said["recipe"])
    job = Job(Path(folder), recipe, Store(said["store"]), said["fingerprint"])
    with told_steps() if os.environ.get("RANK", "0") == "0" else nullcontext() as tell:
        train_stage(job, int(index), *filter(None, [tell]))


if __name__ == "__main__":
    main(*sys.argv[1:])
