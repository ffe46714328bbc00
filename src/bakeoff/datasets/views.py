"""Three ways to learn from one row: the supervised target, a preference pair, an edit cost.

The rule which rows are learnt from is here and nowhere else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.datasets.model import Row
from bakeoff.task import Answer, JsonSchema, Message, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervised:
    """What a model is asked, and what it should have said."""

    example_id: str
    unit_id: str
    messages: Sequence[Message]  # `Task.render`
    schema: JsonSchema  # `Task.answer_schema`
    labels: Mapping[str, str]  # `Task.supervise`: property -> JSON text; properties left out carry no loss


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What people kept over what they were shown."""

    example_id: str
    unit_id: str
    messages: Sequence[Message]  # `Task.render`
    chosen: Answer
    rejected: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class EditCost:
    """How much people changed of what they were shown."""

    example_id: str
    unit_id: str
    cost: float  # 0: nothing


def learnable(rows: Iterable[Row], *, include_fallback: bool = False) -> Iterator[Row]:
    """Rows to learn from, in their order. An answer that a last resort gave in place of the assigned policy is no
    evidence about it, and people kept what an outage left them: such rows are left out by default."""
    return (row for row in rows if include_fallback or not row.example.metadata.get("fell_back"))


def sft(task: Task, row: Row) -> Supervised | None:
    """The supervised target; None where the task has nothing to say about the row."""
    labels = task.supervise(row.example)
    if not labels:
        return None
    request = row.example.request
    return Supervised(
        example_id=row.example.example_id,
        unit_id=row.example.unit_id,
        messages=task.render(request),
        schema=task.answer_schema(request),
        labels=labels,
    )


def preferences(task: Task, rows: Iterable[Row], *, include_fallback: bool = False) -> Iterator[Pair]:
    """One pair for each row where people kept something else than they were shown, for instance for DPO
    (Rafailov et al. 2023, arXiv 2305.18290)."""
    for row in learnable(rows, include_fallback=include_fallback):
        found = task.preference(row.example)
        if found is not None:
            yield Pair(
                example_id=row.example.example_id,
                unit_id=row.example.unit_id,
                messages=task.render(row.example.request),
                chosen=found.chosen,
                rejected=found.rejected,
            )


def edit_costs(task: Task, rows: Iterable[Row], *, include_fallback: bool = False) -> Iterator[EditCost]:
    """One cost for each row where people saw a proposal."""
    for row in learnable(rows, include_fallback=include_fallback):
        cost = task.edit_cost(row.example)
        if cost is not None:
            yield EditCost(example_id=row.example.example_id, unit_id=row.example.unit_id, cost=cost)
