"""The engine in this process: transformers on CPU or one GPU, batch size 1, deterministic.

One base model serves many adapters: each answer switches the wanted adapter on, or all of them off. Answers with
the same adapter may run in several Python threads at once; each is still a batch of one.
"""

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bakeoff.adapters.generation.gate import AdapterGate
from bakeoff.adapters.generation.hardware import device
from bakeoff.adapters.generation.prefix import Prefixes, can_share
from bakeoff.adapters.generation.walk import Clock, Walk, choose
from bakeoff.adapters.generation.weights import BaseModel, base_digest
from bakeoff.errors import Refused, UsageError
from bakeoff.inference.choice_logits import allowed_logits, index_encoded, take_apart
from bakeoff.inference.encode import Encoded, Encoder, OpenSchemaError
from bakeoff.inference.model import Decoding, ModelRef, PolicySpec
from bakeoff.task import Choice, Completion, JsonSchema, Message
from bakeoff.training.adapter import ENCODING, adapter_digest, lint_adapter, read_encoding

SHORTEST_SHARED = 24
"""Tokens from which on a shared beginning of prompts is read once; for fewer the copy costs what it saves."""
_PACKAGES = ("torch", "transformers", "peft", "llguidance", "tokenizers")


class LoadedBase:
    """One base model in memory, with the adapters that were put on it."""

    def __init__(self, *, base: BaseModel, causal: Any, encoder: Encoder, dtype: str) -> None:
        """`causal`: the causal LM; adapters are injected into its layers."""
        self.base, self.causal, self.encoder, self.dtype = base, causal, encoder, dtype
        self.trunk = take_apart(causal)
        self.prefixes = Prefixes() if can_share(self.trunk, causal.config) else None
        self.gate = AdapterGate(self._switch)
        self._peft: Any = None  # PeftModel around `causal` once there is an adapter

    def attach(self, folder: Path, name: str) -> None:
        """Loads an adapter under `name`; does nothing where it is loaded already."""
        from peft import PeftModel

        where = str(self.trunk.head.weight.device)
        with self.gate.alone(), warnings.catch_warnings():
            # peft still asks by the old name of `is_activation_checkpointing`
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self.causal, str(folder), adapter_name=name, torch_device=where)
            elif name not in self._peft.peft_config:
                self._peft.load_adapter(str(folder), adapter_name=name, torch_device=where)
            self._peft.eval()

    def detach(self, name: str) -> None:
        """Forgets an adapter, unless somebody is answering: then it stays, which costs a few megabytes."""
        with self.gate.alone(0.0):
            if self._peft is not None and len(self._peft.peft_config) > 1 and name in self._peft.peft_config:
                self._peft.delete_adapter(name)

    def _switch(self, adapter: str | None) -> None:
        if self._peft is not None and adapter is None:
            self._peft.base_model.disable_adapter_layers()
        elif self._peft is not None:
            self._peft.base_model.enable_adapter_layers()
            self._peft.set_adapter(adapter)


class TransformersEngine:
    """Answers for one policy spec. Implements `bakeoff.inference.model.Engine`."""

    def __init__(self, loaded: LoadedBase, adapter: str | None, threads: int, clock: Clock = time.monotonic) -> None:
        """`threads`: that each answer computes with. It is a setting of the process: engines with other counts must
        not answer at the same moment."""
        self.loaded, self.adapter, self._threads, self._clock = loaded, adapter, threads, clock

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: JsonSchema,
        decoding: Decoding,
        deadline_s: float | None = None,
    ) -> Completion:
        """See `Engine.complete`. Raises TimeoutError at the deadline; UsageError for a schema that cannot be
        enforced, an open schema in mode 'choices', or a prompt longer than the model reads."""
        loaded, began = self.loaded, self._clock()
        prompt_ids = loaded.encoder.prompt_ids(messages)
        with loaded.gate.using(self.adapter, deadline_s), torch.inference_mode():
            torch.set_num_threads(self._threads)  # what a new Python thread computes with is not what another one set
            walk = Walk(loaded.causal, loaded.trunk, self._clock, None if deadline_s is None else began + deadline_s)
            shared = loaded.encoder.shared_ids(messages, prompt_ids)
            if loaded.prefixes is not None and len(shared) >= SHORTEST_SHARED:
                walk.begin(loaded.prefixes, self.adapter, shared)
            text, choices = _answer(loaded.encoder, walk, prompt_ids, schema, decoding)
        return Completion(
            text=text,
            choices=choices,
            prompt_tokens=len(prompt_ids),
            completion_tokens=len(loaded.encoder.answer_ids(text)),
            model_steps=walk.steps,
            latency_s=self._clock() - began,
        )

    def describe(self) -> Mapping[str, Any]:
        """What this engine computes with; stamped on replays."""
        return {
            "engine": "transformers",
            "base": self.loaded.base.name,
            "base_digest": self.loaded.base.digest,
            "adapter": self.adapter,
            "template_digest": self.loaded.encoder.template_digest,
            "dtype": self.loaded.dtype,
            "device": str(self.loaded.trunk.head.weight.device),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "threads": self._threads,
            "batch_size": 1,
            "shared_prefix": None if self.loaded.prefixes is None else SHORTEST_SHARED,
            "versions": {name: version(name) for name in _PACKAGES},
        }


class TransformersEngines:
    """Opens engines; keeps each base model once per number format. Implements `bakeoff.inference.model.Engines`."""

    def __init__(
        self,
        *,
        base: Callable[[str], Path],
        adapter: Callable[[ModelRef], Path],
        threads: int,
        clock: Clock = time.monotonic,
    ) -> None:
        """`base`: makes a local folder of a base model's name. `adapter`: makes a local folder of an adapter's URI.
        `threads`: CPU threads of an engine for which `open` names no other count."""
        self._base_folder, self._adapter_folder, self._threads, self._clock = base, adapter, threads, clock
        self._bases: dict[tuple[str, str], LoadedBase] = {}
        self._engines: dict[tuple[str, int], TransformersEngine] = {}
        self._lock = threading.Lock()

    def open(self, spec: PolicySpec, *, threads: int | None = None) -> TransformersEngine:
        """Raises UsageError for a spec of another engine, Refused where base, adapter or prompt encoding are not
        the ones that the spec and the adapter were made with, Unreachable where weights are missing."""
        if spec.engine != "transformers" or spec.model is None:
            raise UsageError(f"a policy of engine '{spec.engine}' has no model", cure="open it with its own engine")
        key = spec.fingerprint, threads or self._threads
        with self._lock:
            if key not in self._engines:
                loaded = self._base(spec.model, spec.dtype or "float32")
                adapter = None if spec.model.adapter is None else _attach(loaded, spec.model, self._adapter_folder)
                self._engines[key] = TransformersEngine(loaded, adapter, key[1], self._clock)
            return self._engines[key]

    def release(self, spec: PolicySpec) -> None:
        """The base model goes with the last engine that answers by it; an adapter that was used alone goes before."""
        with self._lock:
            gone = [self._engines.pop(key) for key in list(self._engines) if key[0] == spec.fingerprint]
            for engine in gone:
                others = [each for each in self._engines.values() if each.loaded is engine.loaded]
                if not others:
                    self._bases = {key: base for key, base in self._bases.items() if base is not engine.loaded}
                elif engine.adapter is not None and all(each.adapter != engine.adapter for each in others):
                    with suppress(TimeoutError):
                        engine.loaded.detach(engine.adapter)

    def _base(self, model: ModelRef, dtype: str) -> LoadedBase:
        key = (model.base_digest, dtype)
        if key not in self._bases:
            folder = self._base_folder(model.base)
            actual = base_digest(folder)
            if actual != model.base_digest:
                raise Refused(
                    f"the base model {model.base!r} on this machine is {actual}, the policy was made with "
                    f"{model.base_digest}",
                    cure="install the weights that the policy names, or train and judge it again on these",
                )
            self._bases[key] = load_base(BaseModel(name=model.base, path=folder, digest=actual), dtype, self._threads)
        return self._bases[key]


def load_base(base: BaseModel, dtype: str, threads: int) -> LoadedBase:
    """Loads weights (safetensors only, no code from the model) and tokenizer; sets torch's threads."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    causal = AutoModelForCausalLM.from_pretrained(
        str(base.path),
        dtype=torch.bfloat16 if dtype == "bfloat16" else torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    causal = causal.to(device()).eval()
    return LoadedBase(base=base, causal=causal, encoder=Encoder.open(base.path), dtype=dtype)


def _attach(loaded: LoadedBase, model: ModelRef, locate: Callable[[ModelRef], Path]) -> str:
    folder = locate(model)
    actual = adapter_digest(folder)
    if actual != model.adapter_digest:
        raise Refused(
            f"the adapter in {folder} is {actual}, the policy was made with {model.adapter_digest}",
            cure="fetch the adapter again from the registry",
        )
    lint_adapter(folder)
    _check_encoding(loaded, folder)
    name = actual.replace(":", "-")
    loaded.attach(folder, name)
    return name


def _check_encoding(loaded: LoadedBase, folder: Path) -> None:
    """An adapter answers only over the base, and the way of encoding requests, that it was trained with."""
    trained = read_encoding(folder)
    here = {"base_digest": loaded.base.digest, "template_digest": loaded.encoder.template_digest}
    for name, value in here.items():
        if trained[name] != value:
            raise Refused(
                f"{folder / ENCODING}: trained with {name} {trained[name]}, here it is {value}",
                cure="train again with this base model and this version of bakeoff",
            )


def _answer(
    encoder: Encoder,
    walk: Walk,
    prompt_ids: tuple[int, ...],
    schema: JsonSchema,
    decoding: Decoding,
) -> tuple[str, tuple[Choice, ...]]:
    try:
        answer_ids, points = encoder.encode_answer(schema, {})
    except OpenSchemaError:
        if decoding.mode == "choices":
            raise
        return walk.open(encoder, prompt_ids, schema, decoding.max_tokens), ()
    if decoding.mode == "greedy":
        return walk.closed(encoder, prompt_ids, schema, [point.key for point in points], decoding.max_tokens)
    # What was read before is no part of this pass.
    encoded = Encoded(prompt_ids=prompt_ids[walk.seen :], answer_ids=answer_ids, choices=points)
    return _one_pass(encoder, walk, encoded, schema, decoding)


def _one_pass(
    encoder: Encoder, walk: Walk, encoded: Encoded, schema: JsonSchema, decoding: Decoding
) -> tuple[str, tuple[Choice, ...]]:
    """Scores every open choice in one forward pass over the prompt and the placeholder answer."""
    if len(encoded.answer_ids) > decoding.max_tokens:
        raise UsageError(
            f"the answer takes {len(encoded.answer_ids)} tokens, max_tokens is {decoding.max_tokens}",
            cure=f"set max_tokens to {len(encoded.answer_ids)} or more",
        )
    hidden = walk.hidden(encoded.input_ids)
    logits = allowed_logits(hidden, walk.trunk.head, index_encoded(encoded), walk.trunk.cap).tolist()
    choices = tuple(choose(point, row) for point, row in zip(encoded.choices, logits, strict=True))
    return encoder.closed_answer(schema, {choice.key: choice.value for choice in choices}), choices
