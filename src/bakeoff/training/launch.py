"""A run file carried out: in this process, or by torchrun in several on this machine."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bakeoff.errors import BakeoffError, Refused, Unreachable, UsageError
from bakeoff.training import run_file, worker
from bakeoff.training.model import OnStep, TrainResult, TrainSpec

_ERRORS = {kind.exit_code: kind for kind in (BakeoffError, UsageError, Refused, Unreachable)}
_LAST_WORDS = 2000  # characters of stderr that are shown where a worker broke; torchrun's report follows them


def require_machine(spec: TrainSpec, processes: int) -> None:
    """As `worker.require_machine`. Raises UsageError where torchrun started this very process."""
    if worker.world() > 1:
        raise UsageError(
            f"torchrun started {worker.world()} of this command, each of which would make a run of its own",
            cure="start it once, without torchrun: --processes N has torchrun start N workers",
        )
    worker.require_machine(spec, processes)


def carry_out(path: Path, on_step: OnStep, *, processes: int) -> TrainResult:
    """Trains what the run file says. Raises as the recipe does, and BakeoffError for a worker that broke."""
    if processes == 1:
        return worker.execute(path, on_step)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as words:
        with _started(command(path, processes), words) as output:
            last = _listen(output, on_step)
        if "adapter_digest" not in last:
            words.seek(0)
            raise _failure(last, words.read())
    return run_file.read_result(path)


def command(path: Path, processes: int) -> list[str]:
    """What starts the workers; by module, so that it is this Python's torchrun."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
        *("-m", "bakeoff.training.worker", str(path)),
    ]


@contextmanager
def _started(command: Sequence[str], words: IO[str]) -> Iterator[IO[str]]:
    """The workers' stdout while they run; they end with this block, however it ends."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True)
    assert child.stdout is not None
    try:
        with child.stdout as output:
            yield output
    except BaseException:
        child.terminate()  # torchrun ends its workers
        raise
    finally:
        child.wait()


def _listen(output: IO[str], on_step: OnStep) -> dict[str, Any]:
    """Passes every step on; returns the last thing that was said which is no step."""
    last: dict[str, Any] = {}
    for line in output:
        try:
            body = json.loads(line)
        except ValueError:
            continue  # a library that speaks on stdout
        if not isinstance(body, dict):
            continue
        if "step" in body:
            on_step(body["step"], body["steps"], body["metrics"])
        else:
            last = body
    return last


def _failure(last: dict[str, Any], words: str) -> BakeoffError:
    if "exit_code" in last:
        return _ERRORS[last["exit_code"]](last["message"], cure=last["cure"])
    own = re.split(r"^.*torch/distributed/elastic/multiprocessing/api\.py", words, maxsplit=1, flags=re.MULTILINE)[0]
    return BakeoffError(f"a training process broke; its last words:\n{own[-_LAST_WORDS:].strip()}")
