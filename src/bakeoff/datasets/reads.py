"""Which fields of a request a task reads: found by handing it a request that takes notes.

`Traced` and its lists are dicts and lists, so iteration, unpacking, ``in``, ``len``, ``json.dumps`` and ``match`` work
as ever. Paths are those of schema.json and `Task.fields`: ``request.slots[].max_minutes``; where `Task.fields` speaks
of ``request.history.kept.*``, the keys of that object are ``*``. What goes past Python's own protocols (orjson) is
not seen."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bakeoff.datasets.model import Row
from bakeoff.errors import Refused
from bakeoff.fingerprint import as_stored
from bakeoff.task import Completion, Example, Request, Task, TaskBase

ROOT = "request"
_SHAPE_ERRORS = (KeyError, IndexError, TypeError, AttributeError)


@dataclass(kw_only=True, slots=True)
class Notes:
    """What happened to one request; filled while it is read."""

    keyed: Collection[str]  # paths of objects whose keys are data: any of them is '*'
    read: set[str] = field(default_factory=set)
    last: str = ""  # path that was read last: where it went wrong
    missing: str = ""  # asked for with [], but not there

    def below(self, path: str, name: object) -> str:
        return f"{path}.{'*' if path in self.keyed else name}"

    def note(self, path: str) -> None:
        self.read.add(path)
        self.last = path


class Traced(dict[str, Any]):
    """A JSON object that notes which of its fields are read."""

    def __init__(self, value: Mapping[str, Any], path: str, notes: Notes) -> None:
        self._at, self._notes = path, notes
        self._paths = {key: notes.below(path, key) for key in value}
        super().__init__({key: traced(part, self._paths[key], notes) for key, part in value.items()})

    def _note(self, key: Any) -> None:
        path = self._paths.get(key)
        self._notes.note(self._notes.below(self._at, key) if path is None else path)

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        try:
            return super().__getitem__(key)
        except KeyError:
            self._notes.missing = f"{self._at}.{key}"
            raise

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self._note(key)
            yield key

    def __eq__(self, other: object) -> bool:
        return dict(self.items()) == other

    __hash__ = None

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        self._note(key)
        return super().pop(key, *default)

    def keys(self) -> Any:
        self._note_all()
        return super().keys()

    def values(self) -> Any:
        self._note_all()
        return super().values()

    def items(self) -> Any:
        self._note_all()
        return super().items()

    def copy(self) -> dict[str, Any]:
        return dict(self.items())

    def __deepcopy__(self, _: Any) -> Any:
        return json.loads(json.dumps(self))

    def __reduce__(self) -> Any:
        return dict, (self.copy(),)

    def _note_all(self) -> None:
        for key in super().__iter__():
            self._note(key)


class TracedList(list[Any]):
    """A JSON list that notes that its elements are read."""

    def __init__(self, value: Sequence[Any], path: str, notes: Notes) -> None:
        self._at, self._element, self._notes = path, f"{path}[]", notes
        super().__init__([traced(part, self._element, notes) for part in value])

    def __getitem__(self, index: Any) -> Any:
        self._notes.note(self._element)
        try:
            return super().__getitem__(index)
        except IndexError:
            self._notes.missing = f"{self._at}[{index}]"
            raise

    def __iter__(self) -> Iterator[Any]:
        self._notes.note(self._element)
        return super().__iter__()

    def __reversed__(self) -> Iterator[Any]:
        self._notes.note(self._element)
        return super().__reversed__()

    def __contains__(self, value: object) -> bool:
        self._notes.note(self._element)
        return super().__contains__(value)

    def __eq__(self, other: object) -> bool:
        return list(self) == other

    __hash__ = None

    def copy(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, _: Any) -> Any:
        return json.loads(json.dumps(self))

    def __reduce__(self) -> Any:
        return list, (self.copy(),)


def traced(value: Any, path: str, notes: Notes) -> Any:
    """`value` as a copy that takes notes; scalars as they are."""
    if isinstance(value, Mapping):
        return Traced(value, path, notes)
    return TracedList(value, path, notes) if isinstance(value, (list, tuple)) else value


def fields_read(task: Task, request: Request) -> frozenset[str]:
    """Paths that `Task.render` and `Task.answer_schema` read of `request`."""
    notes = Notes(keyed=_keyed(task))
    _prompt(task, traced(request, ROOT, notes))
    return frozenset(notes.read)


def check_reads(task: Task, sample: Sequence[Row]) -> None:
    """Every field that `Task.render` and `Task.answer_schema` read is there in the requests of `sample`.

    Raises Refused, which names the row, the path and the cure."""
    for row in sample:
        notes = Notes(keyed=_keyed(task))
        try:
            _prompt(task, traced(row.example.request, ROOT, notes))
        except _SHAPE_ERRORS as error:
            if getattr(error, "obj", None) is task:  # the task has no such method
                raise
            raise Refused(_what(task, row, notes, error), cure=_cure(task)) from error


def unused(task: Task, sample: Iterable[Row]) -> tuple[str, ...]:
    """Paths that lie in the requests of `sample` and that nothing of the task reads: neither prompt, schema, parser,
    rules, repair, supervision, scores nor `Task.need`. Of an object or list that is never looked at only its own path;
    a list of plain values is used where only its length is.

    A note, not a fault: an application may log more than a policy wants to know."""
    there: set[str] = set()
    notes = Notes(keyed=_keyed(task))
    for row in sample:
        request = as_stored(row.example.request)
        there.update(_paths(request, ROOT, notes))
        _everything(task, row.example, traced(request, ROOT, notes))
    unread = {path for path in there - notes.read if not path.endswith("[]")}
    return tuple(sorted(path for path in unread if not any(parent in unread for parent in _parents(path))))


def _prompt(task: Task, request: Request) -> None:
    list(task.render(request))
    json.dumps(task.answer_schema(request))


def _everything(task: Task, example: Example, request: Request) -> None:
    """Runs what reads a request. Whether the task does it right is not the question here."""
    example = replace(example, request=request)
    steps: list[Callable[[], object]] = [lambda: _prompt(task, request), lambda: task.supervise(example)]
    if getattr(type(task), "need", None) is not TaskBase.need:  # the default is a digest, which reads everything
        steps.append(lambda: task.need(request))
    steps.append(lambda: _judge(task, example, request))
    for step in steps:
        with suppress(Exception):
            step()


def _judge(task: Task, example: Example, request: Request) -> None:
    """Parser, rules, repair and scores, on the answer that takes what was supervised and else the first value."""
    labels = task.supervise(example) or {}
    properties = task.answer_schema(request)["properties"]
    said = {
        name: json.loads(labels[name]) if name in labels else place["enum"][0] for name, place in properties.items()
    }
    answer = task.parse(request, Completion(text=json.dumps(said)))
    task.repair(request, answer, task.violations(request, answer))
    task.score(example, answer)


def _keyed(task: Task) -> frozenset[str]:
    return frozenset(path.removesuffix(".*") for path in task.fields if path.endswith(".*"))


def _paths(value: Any, path: str, notes: Notes) -> Iterator[str]:
    """Of everything inside `value`."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            here = notes.below(path, key)
            yield here
            yield from _paths(part, here, notes)
    elif isinstance(value, list):
        for part in value:
            yield f"{path}[]"
            yield from _paths(part, f"{path}[]", notes)


def _parents(path: str) -> Iterator[str]:
    """Of 'request.slots[].day': 'request.slots[]', 'request.slots', 'request'."""
    while path:
        path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]
        yield path


def _what(task: Task, row: Row, notes: Notes, error: Exception) -> str:
    where = f"the prompt of task {task.name} cannot be made from row {row.example.example_id}"
    if notes.missing and isinstance(error, (KeyError, IndexError)):
        return f"{where}: its request has no {notes.missing}"
    last = f", after reading {notes.last}" if notes.last else ""
    return f"{where}: {type(error).__name__}: {error}{last}"


def _cure(task: Task) -> str:
    return (
        f"this request was logged in another shape than request_version {task.request_version} has: "
        "give a --since that lies after the change, or let Task.render and Task.answer_schema take both shapes"
    )
