"""Any trainer's run -> a bundle that can be registered, or the whole list of what is wrong with it.

What a foreign trainer cannot know (how bakeoff names a template or a base model) is worked out here and said:
`Trained.assumed`."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bakeoff.datasets import files
from bakeoff.datasets.model import Dataset, Split
from bakeoff.errors import BakeoffError, UsageError
from bakeoff.fingerprint import short
from bakeoff.inference.encode import Encoder
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec, Price
from bakeoff.registry.adapter_check import adapter_problems, linear_shapes
from bakeoff.task import Request, Task
from bakeoff.training import contract
from bakeoff.training.adapter import CONFIG, ENCODING, WEIGHTS, adapter_digest, tensor_shapes
from bakeoff.training.preflight import generation_prompt_problem
from bakeoff.training.run import ADAPTER_TAG, SPEC_FILE, Base, Bases, Trained
from bakeoff.training.tokenizer import TOKENIZER_FILES
from bakeoff.training.tracker import RunRecord, Tracker

ASSUMED_TAG = "assumed"
_TOKENIZER = (*TOKENIZER_FILES, "tokenizer.model", "added_tokens.json", "chat_template.json")
_ALLOWED = {"decoding_mode": ("greedy", "choices"), "dtype": ("float32", "bfloat16")}  # the first where nothing is said
_ASSUMED = {
    "base_digest": "base_digest: of {base!r} as it lies on this machine; the run did not say which weights it used",
    "template_digest": "template_digest: worked out from the run's tokenizer files; the base model's gives the same",
    "prompt_version": "prompt_version {value}: today's; the run did not say which one rendered its rows",
    "decoding_mode": "decoding_mode greedy: the run did not say; it is taken to have learnt whole true answers",
    "dtype": "dtype float32: the run did not say in which numbers it computed",
}


@dataclass(kw_only=True, slots=True)
class _Findings:
    """What comes to light on the way."""

    problems: list[str] = field(default_factory=list)
    derived: dict[str, str] = field(default_factory=dict)  # parameters that the run did not log
    assumed: list[str] = field(default_factory=list)


def from_run(
    tracker: Tracker,
    bases: Bases,
    task: Task,
    run_id: str,
    *,
    find_dataset: Callable[[str], Dataset],
    requested: Mapping[str, object],
    folder: Path,
    price: Price,
) -> Trained:
    """Reads a run back, fetches its adapter and tokenizer into `folder` and checks everything that can be checked
    without running the model.

    `find_dataset`: by version; raises UsageError. Raises Refused with all that is missing, wrong or unequal to
    `requested`; where nothing is, parameters that had to be worked out are added to the run."""
    record = tracker.read_run(run_id)
    found = _Findings(assumed=json.loads(record.tags.get(ASSUMED_TAG, "[]")))
    shutil.rmtree(folder, ignore_errors=True)
    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    _fetch(tracker, record, folder, bundle, found)
    base = _base(bases, record, found)
    if base is not None:
        _check_against_base(record, bundle, base, found)
    dataset = _dataset(record, find_dataset, found)
    if record.tags.get("task", task.name) != task.name:
        found.problems.append(f"tag task is {record.tags['task']!r}, expected {task.name!r}")
    if not any(f"eval_{metric.name}" in record.metrics for metric in task.metrics):
        wanted = ", ".join(f"eval_{metric.name}" for metric in task.metrics)
        found.problems.append(f"no score of the offline evaluator on validation: expected at least one of {wanted}")
    said = _said(task, record, found)
    requested = {**_requested(bundle), **requested}
    completed = replace(record, params={**record.params, **found.derived})
    listed = (*contract.check(completed, requested), *found.problems)
    contract.refuse(run_id, tuple(dict.fromkeys(listed)))
    assert base is not None and dataset is not None  # their absence is a problem, and there was none
    _write_encoding(bundle / "adapter", completed.params, said)
    spec = _policy_spec(task, bundle / "adapter", base, said, price)
    _note(tracker, record, found)
    return Trained(
        run_id=run_id,
        bundle=bundle,
        requested=requested,
        dataset_digest=dataset.digest,
        dataset_version=dataset.version,
        policy_spec=spec,
        reused=False,
        probe=_probe(dataset),
        assumed=tuple(found.assumed),
    )


def _fetch(tracker: Tracker, record: RunRecord, folder: Path, bundle: Path, found: _Findings) -> None:
    """Adapter, tokenizer and (of our own runs) the spec, each into its place in the bundle."""
    for target, mark, wanted in (
        ("adapter", WEIGHTS, (CONFIG, WEIGHTS, ENCODING)),
        ("tokenizer", "tokenizer.json", _TOKENIZER),
    ):
        (bundle / target).mkdir()
        place = _place(record.artifacts, mark, found)
        if place is None:
            continue
        for name in wanted:
            path = (PurePosixPath(place) / name).as_posix()
            if path in record.artifacts:
                shutil.copy(tracker.download(record.run_id, folder / "download", path), bundle / target / name)
    if SPEC_FILE in record.artifacts:
        shutil.copy(tracker.download(record.run_id, folder / "download", SPEC_FILE), bundle / SPEC_FILE)


def fetch_adapter(tracker: Tracker, record: RunRecord, to: Path) -> Path:
    """The adapter's folder of any trainer's run, downloaded into `to`. Raises UsageError where it logged none, or
    several."""
    found = _Findings()
    place = _place(record.artifacts, WEIGHTS, found)
    if place is None:
        problem = found.problems[0] if found.problems else f"it logged no {WEIGHTS}"
        raise UsageError(f"run {record.run_id} has no adapter: {problem}", cure="bakeoff runs list shows the runs")
    return tracker.download(record.run_id, to, "" if place == "." else place)


def _place(artifacts: Iterable[str], mark: str, found: _Findings) -> str | None:
    """The folder that holds `mark`: the highest one, which must be alone at its height (checkpoints lie deeper)."""
    places = sorted(
        (str(PurePosixPath(path).parent) for path in artifacts if PurePosixPath(path).name == mark),
        key=lambda place: (len(PurePosixPath(place).parts), place),
    )
    level = [place for place in places if len(PurePosixPath(place).parts) == len(PurePosixPath(places[0]).parts)]
    if len(level) > 1:
        found.problems.append(f"{mark} lies in {' and in '.join(level)}: log one of them, nobody can tell which counts")
        return None
    return level[0] if level else None


def _base(bases: Bases, record: RunRecord, found: _Findings) -> Base | None:
    name = record.params.get("base_model", "").strip()
    if not name:
        return None  # the contract says that it is missing
    try:
        base = bases.resolve(name)
    except UsageError as error:
        found.problems.append(f"base model {name!r}: {error}")
        return None
    _derive("base_digest", base.digest, record, found, f"base model {name!r} on this machine", base=name)
    return base


def _derive(name: str, value: str, record: RunRecord, found: _Findings, source: str, **words: str) -> None:
    """Fills in what the run did not log; what it did log must be the same."""
    logged = record.params.get(name)
    if logged is None:
        found.derived[name] = value
        found.assumed.append(_ASSUMED[name].format(value=value, **words))
    elif logged != value:
        found.problems.append(f"parameter {name} is {short(logged)}, but {source} is {short(value)}")


def _check_against_base(record: RunRecord, bundle: Path, base: Base, found: _Findings) -> None:
    adapter, tokenizer = bundle / "adapter", bundle / "tokenizer"
    if (adapter / CONFIG).is_file() and (adapter / WEIGHTS).is_file():
        found.problems += (f"the adapter is refused: {each}" for each in _adapter(adapter, base.path))
        found.problems += _encoding_problems(adapter, record)
    if (tokenizer / "tokenizer.json").is_file():
        try:
            mine, theirs = Encoder.open(tokenizer), Encoder.open(base.path)
        except (BakeoffError, OSError, ValueError) as error:
            found.problems.append(f"the run's tokenizer cannot be opened: {error}")
            return
        found.problems += filter(None, [generation_prompt_problem(mine.tokenizer)])
        if mine.template_digest != theirs.template_digest:
            found.problems.append(
                f"the run's tokenizer and chat template ({short(mine.template_digest)}) do not encode like those of "
                f"base model {base.name!r} ({short(theirs.template_digest)}), with which it would be served"
            )
        _derive("template_digest", mine.template_digest, record, found, "that of the run's tokenizer files")


def _adapter(folder: Path, base_dir: Path) -> tuple[str, ...]:
    try:
        config = json.loads((folder / CONFIG).read_text())
        return adapter_problems(config, tensor_shapes(folder / WEIGHTS), linear_shapes(base_dir))
    except ValueError as error:
        return (str(error),)


def _encoding_problems(adapter: Path, record: RunRecord) -> Iterator[str]:
    """Of our own runs: the adapter is the one that training wrote."""
    wanted = record.tags.get(ADAPTER_TAG)
    if wanted is not None and not (adapter / ENCODING).is_file():
        yield f"artefact {ENCODING} is missing beside the adapter"
    elif wanted is not None and adapter_digest(adapter) != wanted:
        yield f"the adapter is {short(adapter_digest(adapter))}, training wrote {short(wanted)}"


def _dataset(record: RunRecord, find_dataset: Callable[[str], Dataset], found: _Findings) -> Dataset | None:
    version = record.params.get("dataset_version", "").strip()
    if not version:
        return None
    try:
        dataset = find_dataset(version)
    except UsageError as error:
        found.problems.append(f"dataset_version {version!r}: {error}")
        return None
    digits = dataset.digest.removeprefix("sha256:")
    if record.datasets and not any(len(each) >= 12 and digits.startswith(each) for each in record.datasets):
        found.problems.append(
            f"the dataset input has digest {record.datasets[0]}, dataset {version} has {digits[:32]}: other rows"
        )
    return dataset


def _said(task: Task, record: RunRecord, found: _Findings) -> dict[str, str]:
    """How the run's rows were rendered and the model was trained to answer, or what is taken to have been so."""
    allowed = {"prompt_version": (task.prompt_version,), **_ALLOWED}
    said = {}
    for name, values in allowed.items():
        said[name] = record.params.get(name, values[0])
        if name not in record.params:
            found.derived[name] = values[0]
            found.assumed.append(_ASSUMED[name].format(value=values[0]))
        elif said[name] not in values:
            found.problems.append(f"parameter {name} is {said[name]!r}, expected {' or '.join(values)}")
    return said


def _note(tracker: Tracker, record: RunRecord, found: _Findings) -> None:
    """Completes the run with what was worked out, and says there that it was."""
    if found.derived:
        tracker.set_tag(record.run_id, ASSUMED_TAG, json.dumps(found.assumed))
        tracker.log_params(record.run_id, found.derived)


def _requested(bundle: Path) -> dict[str, object]:
    """Of our own runs: what was asked for is kept beside the model."""
    path = bundle / SPEC_FILE
    asked = json.loads(path.read_text()) if path.is_file() else {}
    return {name: value for name, value in asked.items() if value is not None}


def _write_encoding(adapter: Path, params: Mapping[str, str], said: Mapping[str, str]) -> None:
    """For an adapter of a foreign trainer; ours brings its own."""
    path = adapter / ENCODING
    if not path.is_file():
        body = {name: params[name] for name in ("base_digest", "template_digest")}
        body |= {name: said[name] for name in ("prompt_version", "decoding_mode")}
        path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")


def _policy_spec(task: Task, adapter: Path, base: Base, said: Mapping[str, Any], price: Price) -> PolicySpec:
    return PolicySpec(
        task=task.name,
        engine="transformers",
        prompt_version=said["prompt_version"],
        model=ModelRef(
            base=base.name, base_digest=base.digest, adapter=str(adapter), adapter_digest=adapter_digest(adapter)
        ),
        dtype=said["dtype"],
        decoding=Decoding(mode=said["decoding_mode"]),
        price=price,
    )


def _probe(dataset: Dataset) -> Request | None:
    rows = files.load(dataset.uri, splits=(Split.VALIDATION,))
    return rows[0].example.request if rows else None
