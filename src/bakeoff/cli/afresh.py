"""Runs prompts in fresh processes, for ``bakeoff task check``; and is that process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

from bakeoff import plugins
from bakeoff.conformance import afresh
from bakeoff.conformance.declared import note
from bakeoff.conformance.model import Finding
from bakeoff.task import Episode, Task

PROCESSES = 2
_PATIENCE_S = 120.0


def findings(task: Task, rows: Sequence[Episode]) -> Iterator[Finding]:
    """Where fresh processes see another prompt than this one; a note where they cannot load the task."""
    requests = [row.request for row in rows]
    names = [str(row.decision.decision_id) for row in rows]
    here = afresh.prompts(task, requests)
    words = [sys.executable, "-m", "bakeoff.cli.afresh", task.name]
    text = json.dumps(requests)
    for _ in range(PROCESSES):
        ran = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
        if ran.returncode != 0:
            yield note(
                "render",
                "could not be tried in a process of its own: " + (ran.stderr.strip().splitlines() or ["no word"])[-1],
                expected="a task that every process can load",
                change="install its package: pip install -e ./FOLDER",
            )
            return
        yield from afresh.compared(names, here, json.loads(ran.stdout))


def main() -> None:
    """Requests as a JSON list on stdin, digests as a JSON list on stdout."""
    task = plugins.load_task(sys.argv[1])
    print(json.dumps(afresh.prompts(task, json.load(sys.stdin))))


if __name__ == "__main__":
    main()
