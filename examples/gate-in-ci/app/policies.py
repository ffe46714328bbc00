"""What your application answers. A pull request changes this file, or the prompt beside it."""

from pathlib import Path

from bakeoff.task import PythonAnswer, Request
from planner.policies import explorer, heuristic, popular

PROMPT = Path(__file__).with_name("prompt.txt").read_text(encoding="utf-8")
ORDERS = {"this household likes": heuristic, "most people like": popular}


def plan(request: Request, *, seed: int) -> PythonAnswer:
    """Stands for a call of your model with PROMPT, so that the example runs without one: words of the prompt choose
    what the dishes are ordered by."""
    order = next((order for words, order in ORDERS.items() if words in PROMPT), explorer)
    return order(request, seed=seed)
