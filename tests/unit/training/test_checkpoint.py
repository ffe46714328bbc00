import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from bakeoff.training import checkpoint
from bakeoff.training.checkpoint import Checkpoint

ABOUT = {"run": "a", "threads": 1}


def _loop(seed: int) -> tuple[torch.nn.Linear, torch.optim.AdamW, LambdaLR]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)  # frozen, as a base is
    optimizer = torch.optim.AdamW([model.weight], lr=0.1)
    return model, optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step))


def _steps(loop: tuple[torch.nn.Linear, torch.optim.AdamW, LambdaLR], count: int) -> None:
    model, optimizer, scheduler = loop
    for _ in range(count):
        noise = torch.rand(4, 3) + random.random() + np.random.rand()
        model(noise).square().sum().backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


def _write(root: Path, step: int, loop: tuple[torch.nn.Linear, torch.optim.AdamW, LambdaLR]) -> Path:
    tensors, state = checkpoint.pack(*loop)
    return checkpoint.write(root, Checkpoint(step=step, about=ABOUT, tensors=tensors, state=state), {"note.txt": "hi"})


@pytest.fixture(autouse=True)
def _own_randomness() -> object:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def test_a_loop_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    """Weights, moments, schedule and all three random states, bit for bit."""
    whole = _loop(1)
    _steps(whole, 3)
    folder = _write(tmp_path, 3, whole)
    _steps(whole, 4)
    kept, other = checkpoint.read(folder), _loop(2)
    checkpoint.put_weights(other[0], kept)
    checkpoint.put_optimizer(other[1], other[2], kept)
    other[0].bias.data = whole[0].bias.data
    checkpoint.put_random(kept)
    _steps(other, 4)
    assert torch.equal(other[0].weight, whole[0].weight)
    assert other[2].get_last_lr() == whole[2].get_last_lr()


def test_nothing_of_it_is_a_pickle(tmp_path: Path) -> None:
    loop = _loop(1)
    _steps(loop, 1)
    names = sorted(path.name for path in _write(tmp_path, 1, loop).iterdir())
    assert names == ["note.txt", "state.json", "tensors.safetensors"]
    assert not any(path.read_bytes()[:2] in (b"\x80\x02", b"PK") for path in tmp_path.rglob("*") if path.is_file())


def test_the_last_two_are_kept_and_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    loop = _loop(1)
    _steps(loop, 1)
    for step in (2, 4, 10):
        _write(tmp_path, step, loop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000010"]
    assert checkpoint.newest(tmp_path, ABOUT) == checkpoint.folder_of(tmp_path, 10)
    tensors = checkpoint.folder_of(tmp_path, 10) / checkpoint.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    assert checkpoint.newest(tmp_path, ABOUT) == checkpoint.folder_of(tmp_path, 4)
    with pytest.raises(ValueError, match="its digest is not the one"):
        checkpoint.read(checkpoint.folder_of(tmp_path, 10))
    (checkpoint.folder_of(tmp_path, 4) / checkpoint.STATE).write_text("{")
    assert checkpoint.newest(tmp_path, ABOUT) is None


def test_a_checkpoint_of_another_run_is_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, 1, _loop(1))
    assert checkpoint.newest(tmp_path, {**ABOUT, "threads": 2}) is None
    assert checkpoint.newest(tmp_path / "nowhere", ABOUT) is None


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    kept = checkpoint.read(_write(tmp_path, 1, _loop(1)))
    with pytest.raises(ValueError, match="holds 1 parameters"):
        checkpoint.put_weights(torch.nn.Sequential(torch.nn.Linear(3, 2)), kept)
