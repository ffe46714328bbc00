"""Where a training run stands, as files without pickle: tensors in safetensors, the rest in JSON.

Trainer's own format keeps optimizer and random states with ``torch.save``, that is as pickle, which runs code when it
is read. A checkpoint here is a folder ``step-00000012`` with ``tensors.safetensors`` (trained weights, optimizer
moments, torch's random states), ``state.json`` (everything else) and ``trainer_state.json`` (transformers').
"""

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

TENSORS, STATE = "tensors.safetensors", "state.json"
KEPT = 2
"""Checkpoints of a run that stay: the newest, and the one before it should the newest be broken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One moment of a run."""

    step: int  # optimizer steps done
    about: Mapping[str, Any]  # what run it belongs to; another `about` is another run
    tensors: Mapping[str, torch.Tensor]  # see `pack`
    state: Mapping[str, Any]  # JSON values


def write(root: Path, checkpoint: Checkpoint, also: Mapping[str, str]) -> Path:
    """Writes a folder below `root` that appears only when it is whole, then drops all but the newest `KEPT`. `also`:
    further text files by name."""
    root.mkdir(parents=True, exist_ok=True)
    target = folder_of(root, checkpoint.step)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=root))
    save_file({n: t.detach().cpu().contiguous() for n, t in sorted(checkpoint.tensors.items())}, part / TENSORS)
    body = {
        "step": checkpoint.step,
        "about": checkpoint.about,
        "state": checkpoint.state,
        "sha256": _sha256(part / TENSORS),
    }
    (part / STATE).write_text(json.dumps(body))
    for name, text in also.items():
        (part / name).write_text(text)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for old in _folders(root)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def folder_of(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def newest(root: Path, about: Mapping[str, Any]) -> Path | None:
    """The newest whole checkpoint of this very run; None where there is none."""
    return next((folder for folder in reversed(_folders(root)) if _fits(folder, about)), None)


def read(folder: Path) -> Checkpoint:
    """Raises OSError or ValueError for a folder that is not whole."""
    body = json.loads((folder / STATE).read_text())
    if _sha256(folder / TENSORS) != body["sha256"]:
        raise ValueError(f"{folder / TENSORS} is broken: its digest is not the one that was written down")
    tensors = load_file(folder / TENSORS)
    return Checkpoint(step=body["step"], about=body["about"], tensors=tensors, state=body["state"])


def _folders(root: Path) -> list[Path]:
    return sorted(root.glob("step-*")) if root.is_dir() else []


def _fits(folder: Path, about: Mapping[str, Any]) -> bool:
    try:
        body = json.loads((folder / STATE).read_text())
        return bool(body["about"] == json.loads(json.dumps(about)) and _sha256(folder / TENSORS) == body["sha256"])
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- what a torch training loop holds ------------------------------------------------------------------------------


def pack(model: torch.nn.Module, optimizer: Any, scheduler: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Trained weights ``weight/<name>``, moments ``optimizer/<parameter>/<name>``, random states ``random/<device>``,
    and the JSON part beside them. Numbers of JSON are written so that they read back as the same floats."""
    tensors = {f"weight/{name}": p for name, p in model.named_parameters() if p.requires_grad}
    held = optimizer.state_dict()
    numbers: dict[str, dict[str, float]] = {}
    for index, moments in held["state"].items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return tensors, {
        "optimizer": {"numbers": numbers, "groups": held["param_groups"]},
        # the functions behind a schedule are rebuilt from the spec
        "scheduler": {name: value for name, value in scheduler.state_dict().items() if name != "lr_lambdas"},
        "random": {
            "python": random.getstate(),
            "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
        },
    }


def put_weights(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Raises ValueError where the checkpoint has other parameters than the model trains."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    saved = {n.removeprefix("weight/"): t for n, t in checkpoint.tensors.items() if n.startswith("weight/")}
    if sorted(trained) != sorted(saved):
        raise ValueError(f"the checkpoint holds {len(saved)} parameters, the model trains {len(trained)} others")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])


def put_optimizer(optimizer: Any, scheduler: Any, checkpoint: Checkpoint) -> None:
    """Moments, step counts and the place in the schedule."""
    kept = checkpoint.state["optimizer"]
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in kept["numbers"].items()}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("optimizer/"):
            _, index, moment = name.split("/")
            state.setdefault(int(index), {})[moment] = tensor
    groups = [{**group, "betas": tuple(group["betas"])} for group in kept["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(scheduler.state_dict() | checkpoint.state["scheduler"])


def put_random(checkpoint: Checkpoint) -> None:
    """The random states of the process, as they were."""
    version, words, gauss = checkpoint.state["random"]["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = checkpoint.state["random"]["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(checkpoint.tensors["random/cpu"])
    if "random/cuda" in checkpoint.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(checkpoint.tensors["random/cuda"])
