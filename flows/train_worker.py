"""Several processes that train a stage together, each on a device or on its share of the cores.

`launch` starts one that starts the others, and watches over them: torch.distributed.run, which gives each its rank. All
end when the process that called `launch` does, however it ended: none goes on writing where the next run begins.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

from pydantic import TypeAdapter

from flows.show_steps import told_steps
from storage.errors import CaptionMoviesError
from storage.store import Store, describe
from tasks.errors import CheckpointError, ConfigError, ReferencesError, TransientError
from tasks.training.fitting import Job, train_stage
from tasks.training.recipes import Recipe

JOB, FAILED = "job.json", "failed.json"
MODULE = "flows.train_worker"
KINDS = {one.__name__: one for one in (CheckpointError, ConfigError, ReferencesError, TransientError)}
"""Of errors, as which a process's own is told on; another one is a ConfigError: trying again would not help."""


def launch(job: Job, index: int, processes: int, threads: int | None = None) -> None:
    """Train a stage in so many processes, with so many threads each where that is said.

    Raises what one of them raised, TransientError when one of them ended without a word; the next try goes on.
    """
    put_job(job)
    command = [sys.executable, "-m", MODULE, str(job.folder), str(index), str(processes)]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        env=os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        start_new_session=True,  # Ctrl-C is for this process, which waits for the stage or ends, and they with it
    )  # fmt: skip
    with started:
        assert started.stderr
        for line in started.stderr:  # through this process's own, so that lines stand above the bars of a run
            print(line, end="", file=sys.stderr, flush=True)
    if started.returncode:
        raise failure(job, index, started.returncode)


def put_job(job: Job) -> None:
    """Write down what the processes read; what those before left is gone."""
    said = {"recipe": describe(job.recipe), "store": job.store.location, "fingerprint": job.fingerprint}
    (job.folder / JOB).write_text(json.dumps(said), "utf-8")
    (job.folder / FAILED).unlink(missing_ok=True)


def failure(job: Job, index: int, code: int) -> CaptionMoviesError:
    """What went wrong in processes that ended with this exit code."""
    if (job.folder / FAILED).exists():
        failed = json.loads((job.folder / FAILED).read_text("utf-8"))
        return KINDS.get(failed["kind"], ConfigError)(failed["said"])
    return TransientError(
        f"a process of stage {job.recipe.stage[index].name!r} ended with {code}; its last words stand above. Run the "
        "same again to go on; when memory does not suffice, with a smaller micro_batch, or on a CPU with "
        "cpu_processes = 1."
    )


def main(folder: str, index: str, processes: str = "") -> None:
    """Start the processes where their number is given; else do this one's part."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if processes:
        from torch.distributed.run import main as run

        here = ["--standalone", "--local_addr", "127.0.0.1"]  # a machine may not know its own name
        run([*here, "--nproc_per_node", processes, "-m", MODULE, folder, index])
    else:
        work(Path(folder), int(index))


def work(folder: Path, index: int) -> None:
    """Do this process's part. What is raised is left in the folder too, for `failure`."""
    said = json.loads((folder / JOB).read_text("utf-8"))
    recipe = TypeAdapter(Recipe).validate_python(said["recipe"])
    job = Job(folder, recipe, Store(said["store"]), said["fingerprint"])
    try:
        with told_steps() if os.environ.get("RANK", "0") == "0" else nullcontext() as tell:
            train_stage(job, index, *filter(None, [tell]))
    except CaptionMoviesError as error:
        draft = job.folder / f".{FAILED}.{os.getpid()}"
        draft.write_text(json.dumps({"kind": type(error).__name__, "said": str(error)}), "utf-8")
        os.replace(draft, job.folder / FAILED)
        raise


def _end_with_parent() -> None:
    """What stdin is read from has one writer, and that one writes nothing: its end is the writer's."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
