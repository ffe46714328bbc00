"""A language model in miniature for tests: a byte-level tokenizer with eight merges, and random models of several
families over it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.task import Message
from bakeoff.training.model import TrainingRow

NO, YES = '"no"', '"yes"'
YES_NO = (NO, YES)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# SmolLM2's own template: it slips in a system prompt where there is none.
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful AI assistant"
    "<|im_end|>\n{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Gemma's way: no system role (it raises), the assistant is called model, a BOS token is written by the template.
GEMMA = (
    "<|im_start|>{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
FAMILIES = ("llama", "qwen3", "gemma2", "gpt_neox")
_MERGES = [("n", "o"), ("y", "e"), ("ye", "s"), ('"', ":"), ('":', '"'), ('"', ","), ('",', '"'), ("{", '"')]


def write_tokenizer(folder: Path, template: str | None = CHATML) -> Path:
    """Saves the tokenizer; pad equals eos, as in SmolLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *alphabet, *(a + b for a, b in _MERGES)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[2], bos_token=SPECIAL[1], pad_token=SPECIAL[2],
        unk_token=SPECIAL[0], chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def write_model(folder: Path, *, seed: int = 0, layers: int = 2, family: str = "llama") -> Path:
    """Saves a random model of width 32 with its tokenizer. Gemma 2 has its soft caps, its own template and window."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    write_tokenizer(folder, GEMMA if family == "gemma2" else CHATML)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(_config(family, layers)).save_pretrained(folder)
    return folder


def _config(family: str, layers: int) -> Any:
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": len(SPECIAL) + 256 + len(_MERGES), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": layers, "num_attention_heads": 4, "max_position_embeddings": 512,
        "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip
    if family == "llama":
        return transformers.LlamaConfig(num_key_value_heads=2, tie_word_embeddings=False, **shape)
    if family == "qwen3":
        return transformers.Qwen3Config(num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, **shape)
    if family == "gemma2":
        return transformers.Gemma2Config(
            num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, sliding_window=64,
            attn_logit_softcapping=3.0, final_logit_softcapping=2.0, **shape,
        )  # fmt: skip
    return transformers.GPTNeoXConfig(tie_word_embeddings=False, **shape)


def closed_schema(keys: Sequence[str], values: Sequence[str] = ("no", "yes")) -> dict[str, Any]:
    """One required property per key, each an enum of `values`."""
    return {
        "type": "object",
        "properties": {key: {"enum": list(values)} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def row(wish: str, dishes: Sequence[str], labels: Mapping[str, str]) -> TrainingRow:
    """A training row that asks about `dishes`."""
    messages = [Message(role="system", content="Plan."), Message(role="user", content=wish)]
    return TrainingRow(messages=messages, schema=closed_schema(dishes), labels=labels)
