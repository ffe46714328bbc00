"""Runs prompts in fresh processes, for ``bakeoff task check``; and is that process."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout

from bakeoff import plugins
from bakeoff.conformance import afresh
from bakeoff.conformance.declared import note
from bakeoff.conformance.model import Finding
from bakeoff.fingerprint import canonical_json
from bakeoff.task import Episode, Task

PROCESSES = 2
_PATIENCE_S = 120.0


def findings(task: Task, rows: Sequence[Episode]) -> Iterator[Finding]:
    """Where fresh processes see another prompt than this one; a note where they cannot load the task."""
    text = canonical_json([row.request for row in rows])
    requests = json.loads(text)  # as the other processes read them: keys in the same order
    names = [str(row.decision.decision_id) for row in rows]
    here = afresh.prompts(task, requests)
    words = [sys.executable, "-m", "bakeoff.cli.afresh", task.name]
    for _ in range(PROCESSES):
        try:
            ran = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            yield _untried(f"no answer within {_PATIENCE_S:.0f} s")
            return
        if ran.returncode != 0:
            yield _untried((ran.stderr.strip().splitlines() or ["no word"])[-1])
            return
        yield from afresh.compared(names, here, json.loads(ran.stdout))


def _untried(because: str) -> Finding:
    return note(
        "render",
        f"could not be tried in a process of its own: {because}",
        expected="a task that every process can load",
        change="install its package: pip install -e ./FOLDER",
    )


def main() -> None:
    """Requests as a JSON list on stdin, digests as a JSON list on stdout, where nothing else may be printed."""
    with redirect_stdout(sys.stderr):
        digests = afresh.prompts(plugins.load_task(sys.argv[1]), json.load(sys.stdin))
    print(json.dumps(digests))


if __name__ == "__main__":
    main()
