"""The plan against real steps on this CPU: memory and time of two optimiser steps, each case in its own process.

`python -m pytest -s -m slow tests/scenarios/test_real_steps.py` prints the table of docs/performance.md.
"""

import json
import os
import subprocess
import sys

import pytest
import transformers

from reasonir.model.tiny import chat_tokenizer, word_tokenizer, write_random

pytestmark = pytest.mark.slow
RECOMPUTED, SOME, ALL = (2048, 0), (2048, 4096), (2048, 1 << 20)
SIZE = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 6}
QWEN = {**SIZE, "intermediate_size": 1152, "num_key_value_heads": 3, "head_dim": 64, "tie_word_embeddings": True}
FAMILIES = {
    "bert": ("BertConfig", "BertModel", {**SIZE, "intermediate_size": 1536}),
    "mpnet": ("MPNetConfig", "MPNetModel", {**SIZE, "intermediate_size": 1536}),
    "roberta": ("RobertaConfig", "RobertaModel", {**SIZE, "intermediate_size": 1536}),
    "modernbert": ("ModernBertConfig", "ModernBertModel", {**SIZE, "intermediate_size": 768}),
    "qwen3": ("Qwen3Config", "Qwen3Model", QWEN),
    "qwen3_chat": ("Qwen3Config", "Qwen3ForCausalLM", QWEN),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3TextModel",
        {**QWEN, "sliding_window": 128, "use_bidirectional_attention": True},
    ),
}
BFLOAT16 = ("hardware.precision=bf16-mixed",)
CASES = [
    ("bert", "colbert", 256, RECOMPUTED, ()),
    ("bert", "colbert", 256, ALL, ()),
    ("bert", "biencoder", 512, SOME, ()),
    ("bert", "colbert", 256, ALL, BFLOAT16),
    ("bert", "colbert", 256, SOME, ("model.lora.rank=8",)),
    ("bert", "biencoder", 256, ALL, ("model.activation_checkpointing=true",)),
    ("bert", "cross_encoder", 256, SOME, ()),
    ("bert", "provence", 256, SOME, ("loss=provence",)),
    ("mpnet", "biencoder", 256, SOME, ()),
    ("roberta", "gaussian", 256, ALL, ("loss=gaussian",)),
    ("modernbert", "colbert", 512, RECOMPUTED, ()),
    ("modernbert", "cross_encoder", 256, ALL, BFLOAT16),
    ("qwen3", "colbert", 256, SOME, ()),
    ("qwen3", "biencoder", 512, ALL, BFLOAT16),
    ("qwen3_chat", "yes_no", 256, SOME, ()),
    ("qwen3_chat", "yes_no", 256, RECOMPUTED, ("model.lora.rank=8", *BFLOAT16)),
    ("gemma3", "biencoder", 512, SOME, ()),
]


def checkpoint(folder, family):
    """Write a random model of a family, large enough for its memory to show beside the process's own."""
    config, model, options = FAMILIES[family]
    tokenizer = chat_tokenizer(2000) if family == "qwen3_chat" else word_tokenizer(2000)
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    built = getattr(transformers, config)(vocab_size=len(tokenizer), max_position_embeddings=600, **special, **options)
    write_random(folder, getattr(transformers, model), built, tokenizer)
    return folder


@pytest.mark.parametrize(("family", "head", "longest", "budget", "options"), CASES)
def test_memory_and_time_are_as_planned(family, head, longest, budget, options, tmp_path):
    folder = checkpoint(tmp_path / family, family)
    overrides = ["model=any", f"model.path={folder}", f"model/head={head}", "hardware=cpu", *options]
    overrides += ["loss=bce"] if head in ("cross_encoder", "yes_no") else []
    line = [sys.executable, "-m", "tests.scenarios.real_step", *map(str, budget), str(longest), *overrides]
    # what is freed goes back to the system, so that the process's peak is that of its tensors
    allocator = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
    environment = {**os.environ, **allocator, "REASONIR_HOME": str(tmp_path)}
    done = subprocess.run(line, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    ratio = found["planned"] / found["measured"]
    print(
        f"\n| {family} {head} | {longest} | {budget[1]:,} | {' '.join(options)} | {found['planned']:.3f}, "
        f"{found['measured']:.3f} GiB | {ratio:.3f} | {found['planned_s']:.2f}, {found['measured_s']:.2f} s | "
        f"{found['planned_s'] / found['measured_s']:.2f} | {found['moment']} | {1024 * found['libraries']:.0f} MiB |"
    )
    assert found["packs"]
    assert 0.9 < ratio < 1.1
