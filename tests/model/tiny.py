# SPDX-License-Identifier: MIT
"""
Writes a tiny model with random weights: tiny.py llama|granite|other FILE (gguf-py must be importable).

llama    like SmolLM2, small: what kvsink-llm must accept
granite  the same but with an attention scale of its own: what kvsink-llm must refuse
other    llama with other weights: another model for a state file
"""
import sys

import gguf
import numpy as np

LAYERS, EMBED, Q_HEADS, KV_HEADS, HEAD, FF = 4, 128, 4, 2, 32, 256
SPECIAL = ["<unk>", "<s>", "</s>"]


def vocabulary(writer):
    """One token for each byte: enough to read any prompt."""
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)])
    writer.add_token_scores([0.0] * (len(SPECIAL) + 256))
    writer.add_token_types(kinds + [gguf.TokenType.BYTE] * 256)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)


def metadata(writer, kind, arch):
    writer.add_name(f"kvsink-tiny-{kind}")
    writer.add_context_length(4096)
    writer.add_embedding_length(EMBED)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(Q_HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(SPECIAL) + 256)
    if arch == "granite":
        writer.add_attention_scale(0.5)
        writer.add_logit_scale(1.0)


def main():
    kind, path = sys.argv[1:]
    arch = "granite" if kind == "granite" else "llama"
    random = np.random.default_rng(7 if kind == "other" else 5)
    writer = gguf.GGUFWriter(path, arch)
    metadata(writer, kind, arch)
    vocabulary(writer)

    def matrix(name, rows, columns, gain=1.0):
        weights = random.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        writer.add_tensor(name, weights.astype(np.float32))

    def norm(name):
        writer.add_tensor(name, np.ones(EMBED, dtype=np.float32))

    matrix("token_embd.weight", len(SPECIAL) + 256, EMBED, 4.0)
    norm("output_norm.weight")
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", Q_HEADS * HEAD, EMBED, 1.5)
        matrix(block + "attn_k.weight", KV_HEADS * HEAD, EMBED, 1.5)
        matrix(block + "attn_v.weight", KV_HEADS * HEAD, EMBED)
        matrix(block + "attn_output.weight", EMBED, Q_HEADS * HEAD)
        matrix(block + "ffn_gate.weight", FF, EMBED)
        matrix(block + "ffn_up.weight", FF, EMBED)
        matrix(block + "ffn_down.weight", EMBED, FF)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
