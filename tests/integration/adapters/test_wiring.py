"""What the only place of wiring does by itself."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from bakeoff import bootstrap
from bakeoff.inference.model import ModelRef
from bakeoff.settings import Settings

MODEL = ModelRef(base="b", base_digest="d", adapter="models:/toy_model/3", adapter_digest="a")


def test_two_processes_that_need_the_same_adapter_at_once_both_have_it_whole(tmp_path: Path) -> None:
    """As the workers of one `bakeoff serve` do after a promotion."""
    meet = threading.Barrier(2, timeout=60)

    def download(name: str, version: str, to: Path) -> Path:
        (to / "adapter").mkdir(parents=True)
        (to / "adapter" / "weights").write_text("half")
        meet.wait()
        (to / "adapter" / "weights").write_text(f"{name} {version}")
        meet.wait()
        return to

    def folder() -> Path:
        late = bootstrap._Late(Settings(home=tmp_path), "")
        late.__dict__["mlflow"] = SimpleNamespace(registry=SimpleNamespace(download=download))
        return late.adapter_folder(MODEL)

    with ThreadPoolExecutor(2) as two:
        found = [each.result() for each in [two.submit(folder) for _ in range(2)]]
    assert found[0] == found[1] == tmp_path / "adapters" / "toy_model-3" / "adapter"
    assert (found[0] / "weights").read_text() == "toy_model 3"
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["toy_model-3"]
