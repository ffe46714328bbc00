"""A language model in miniature for tests: a byte-level tokenizer with eight merges, and random Llamas over it."""

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


def write_model(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Saves a random Llama of width 32 with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256 + len(_MERGES), hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


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
