"""A tiny language model with random weights, as the GGUF file that llama.cpp loads: 270 kB.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. It talks nonsense, at once.
"""

import random
import struct
from functools import lru_cache

UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
F32, F16 = 0, 1
ALIGNMENT = 32
WIDTH, HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 128, 512


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _pair(key: str, value: object) -> bytes:
    head = _string(key)
    match value:
        case str():
            return head + struct.pack("<I", STRING) + _string(value)
        case int():
            return head + struct.pack("<II", UINT32, value)
        case float():
            return head + struct.pack("<If", FLOAT32, value)
        case list():
            return head + struct.pack("<I", ARRAY) + _array(value)
        case _:
            raise TypeError(key)


def _array(items: list[object]) -> bytes:
    kinds = {str: STRING, int: INT32, float: FLOAT32}
    kind = kinds[type(items[0])]
    head = struct.pack("<IQ", kind, len(items))
    if kind == STRING:
        return head + b"".join(_string(str(item)) for item in items)
    return head + struct.pack(f"<{len(items)}{'i' if kind == INT32 else 'f'}", *items)


def _vocabulary() -> tuple[list[object], list[object], list[object]]:
    """Tokens, scores and types: three of control, every byte, every printable character."""
    printable = ["\u2581", *(chr(code) for code in range(33, 127))]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{code:02X}>" for code in range(256)), *printable]
    scores = [0.0] * 259 + [-float(place) for place in range(len(printable))]
    types = [2, 3, 3] + [6] * 256 + [1] * len(printable)
    return [*tokens], [*scores], [*types]


def _tensors(words: int) -> dict[str, tuple[tuple[int, ...], int]]:
    """Name -> (sizes, fastest first; type)."""
    found: dict[str, tuple[tuple[int, ...], int]] = {
        "token_embd.weight": ((WIDTH, words), F16),
        "output.weight": ((WIDTH, words), F16),
        "output_norm.weight": ((WIDTH,), F32),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"blk.{layer}.{name}.weight"] = ((WIDTH, WIDTH), F16)
        for name in ("ffn_gate", "ffn_up"):
            found[f"blk.{layer}.{name}.weight"] = ((WIDTH, INNER), F16)
        found[f"blk.{layer}.ffn_down.weight"] = ((INNER, WIDTH), F16)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{layer}.{name}.weight"] = ((WIDTH,), F32)
    return found


@lru_cache(maxsize=4)
def tiny_gguf(seed: int = 0) -> bytes:
    """The file. Another seed: other weights, and so another digest."""
    rng = random.Random(seed)
    tokens, scores, types = _vocabulary()
    pairs: dict[str, object] = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 1,
        "llama.vocab_size": len(tokens),
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    infos, data = b"", b""
    tensors = _tensors(len(tokens))
    for name, (sizes, kind) in tensors.items():
        infos += _string(name) + struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
        infos += struct.pack("<IQ", kind, len(data))
        data += _padded(_weights(rng, sizes, kind))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(_pair(key, value) for key, value in pairs.items())
    return _padded(head + infos) + data


def _weights(rng: random.Random, sizes: tuple[int, ...], kind: int) -> bytes:
    if kind == F32:
        return struct.pack(f"<{sizes[0]}f", *([1.0] * sizes[0]))
    count = sizes[0] * sizes[1]
    return struct.pack(f"<{count}e", *(rng.gauss(0, 0.05) for _ in range(count)))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)
