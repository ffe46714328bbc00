"""What gave a replay its scores. Two replays with different ones are not comparable."""

from bakeoff.fingerprint import digest
from bakeoff.replay.code import module_digest, package_digest
from bakeoff.task import Task

_CORE = ("bakeoff.task", "bakeoff.fingerprint", "bakeoff.inference.run_policy", "bakeoff.replay.score")
_NOT_THE_TASK_S = ("builtins", "abc", "typing", "bakeoff.task")


def scored_by(task: Task) -> dict[str, str]:
    """Digests by part:

    - 'task': its class and bases, with every file, code and data, of the packages that these lie in;
    - 'learnt': what the task's metrics learnt from the train split (`Task.frozen`);
    - 'core': how bakeoff parses, validates, repairs and scores, with its statistics;
    - 'versions': what the task says of its requests and prompts.

    `task` is the one that scores: fitted, or thawed from its dataset."""
    classes = [each for each in type(task).__mro__ if each.__module__ not in _NOT_THE_TASK_S]
    return {
        "task": digest([[each.__qualname__, package_digest(each.__module__)] for each in classes]),
        "learnt": digest(task.frozen()),
        "core": digest([*(module_digest(name) for name in _CORE), package_digest("bakeoff.stats")]),
        "versions": f"{task.name} request {task.request_version} prompt {task.prompt_version}",
    }
