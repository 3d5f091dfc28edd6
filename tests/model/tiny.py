# SPDX-License-Identifier: MIT
"""
Writes a tiny model with random weights: tiny.py KIND FILE (gguf-py must be importable).

llama    like SmolLM2, small
other    llama with other weights: another model for a state file
granite  llama with an attention scale of its own
mixture  llama whose feed-forward part is a mixture of experts
window   gemma2: sliding windows in every other layer, capped logits
alibi    mpt: ALiBi over six heads (no power of two), no rotation
sinks    gpt-oss: learned sinks, sliding windows, experts
mla      deepseek2: one compressed row a token, values inside keys
wide     llama with heads that are wider than the device's: must be refused
mamba    no attention at all: must be refused
"""
import sys

import gguf
import numpy as np

LAYERS, EMBED, Q_HEADS, KV_HEADS, HEAD, FF = 4, 128, 4, 2, 32, 256
EXPERTS, EXPERTS_USED, EXPERT_FF = 4, 2, 64
WINDOW = 40
LORA, Q_LORA, ROPE, NOPE, MLA_V = 48, 40, 16, 24, 20  # of mla
CONV, INNER, STATE, RANK = 4, 256, 16, 8  # of mamba
ARCH = {"granite": "granite", "window": "gemma2", "alibi": "mpt", "sinks": "gpt-oss", "mla": "deepseek2", "mamba": "mamba"}
SPECIAL = ["<unk>", "<s>", "</s>"]
VOCABULARY = len(SPECIAL) + 256


def vocabulary(writer):
    """One token for each byte: enough to read any prompt."""
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(kinds + [gguf.TokenType.BYTE] * 256)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)


class Model:
    """One file: its numbers, then its tensors, layer by layer."""

    def __init__(self, kind, path):
        self.kind = kind
        self.embed, self.q_heads = (192, 6) if kind == "alibi" else (EMBED, Q_HEADS)
        self.head = 640 if kind == "wide" else HEAD
        self.random = np.random.default_rng(7 if kind == "other" else 5)
        self.writer = gguf.GGUFWriter(path, ARCH.get(kind, "llama"))

    def numbers(self):
        w, kind = self.writer, self.kind
        w.add_name(f"kvsink-tiny-{kind}")
        w.add_context_length(4096)
        w.add_embedding_length(self.embed)
        w.add_block_count(LAYERS)
        w.add_feed_forward_length(FF)
        w.add_head_count(self.q_heads)
        w.add_head_count_kv(1 if kind == "mla" else KV_HEADS)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_rope_dimension_count(ROPE if kind == "mla" else self.head)
        w.add_rope_freq_base(10000.0)
        w.add_vocab_size(VOCABULARY)
        if kind == "granite":
            w.add_attention_scale(0.5)
            w.add_logit_scale(1.0)
        if kind in ("mixture", "sinks", "mla"):
            w.add_expert_count(EXPERTS)
            w.add_expert_used_count(EXPERTS_USED)
            w.add_expert_feed_forward_length(EXPERT_FF)
        if kind in ("window", "sinks"):
            w.add_sliding_window(WINDOW)
        if kind in ("window", "sinks", "wide"):
            w.add_key_length(self.head)
            w.add_value_length(self.head)
        if kind == "mamba":
            w.add_ssm_conv_kernel(CONV)
            w.add_ssm_inner_size(INNER)
            w.add_ssm_state_size(STATE)
            w.add_ssm_time_step_rank(RANK)
        if kind == "window":
            w.add_attn_logit_softcapping(5.0)
            w.add_final_logit_softcapping(30.0)
        if kind == "alibi":
            w.add_layer_norm_eps(1e-5)
            w.add_max_alibi_bias(8.0)
        if kind == "mla":
            w.add_key_length(LORA + ROPE)
            w.add_value_length(LORA)
            w.add_key_length_mla(NOPE + ROPE)
            w.add_value_length_mla(MLA_V)
            w.add_kv_lora_rank(LORA)
            w.add_q_lora_rank(Q_LORA)
            w.add_leading_dense_block_count(1)
            w.add_expert_shared_count(1)

    def tensor(self, name, *shape, gain=1.0):
        weights = self.random.standard_normal(shape) * gain / np.sqrt(shape[-1])
        self.writer.add_tensor(name, weights.astype(np.float32))

    def constant(self, name, *shape, value=1.0):
        self.writer.add_tensor(name, np.full(shape, value, dtype=np.float32))

    def experts(self, block, width, bias=False):
        self.tensor(block + "ffn_gate_inp.weight", EXPERTS, self.embed)
        self.tensor(block + "ffn_gate_exps.weight", EXPERTS, width, self.embed)
        self.tensor(block + "ffn_up_exps.weight", EXPERTS, width, self.embed)
        self.tensor(block + "ffn_down_exps.weight", EXPERTS, self.embed, width)
        if bias:
            self.tensor(block + "ffn_gate_inp.bias", EXPERTS)
            self.tensor(block + "ffn_gate_exps.bias", EXPERTS, width)
            self.tensor(block + "ffn_up_exps.bias", EXPERTS, width)
            self.tensor(block + "ffn_down_exps.bias", EXPERTS, self.embed)

    def dense(self, block, width=FF, suffix=""):
        if self.kind != "alibi":
            self.tensor(f"{block}ffn_gate{suffix}.weight", width, self.embed)
        self.tensor(f"{block}ffn_up{suffix}.weight", width, self.embed)
        self.tensor(f"{block}ffn_down{suffix}.weight", self.embed, width)

    def attention(self, block):
        kv = KV_HEADS * self.head
        if self.kind == "alibi":
            self.tensor(block + "attn_qkv.weight", self.embed + 2 * kv, self.embed, gain=1.5)
        else:
            self.tensor(block + "attn_q.weight", self.q_heads * self.head, self.embed, gain=1.5)
            self.tensor(block + "attn_k.weight", kv, self.embed, gain=1.5)
            self.tensor(block + "attn_v.weight", kv, self.embed)
        self.tensor(block + "attn_output.weight", self.embed, self.q_heads * self.head)
        if self.kind == "sinks":
            self.tensor(block + "attn_output.bias", self.embed)
            self.tensor(block + "attn_sinks.weight", self.q_heads, gain=4.0)

    def compressed_attention(self, block):
        self.tensor(block + "attn_q_a.weight", Q_LORA, self.embed)
        self.constant(block + "attn_q_a_norm.weight", Q_LORA)
        self.tensor(block + "attn_q_b.weight", self.q_heads * (NOPE + ROPE), Q_LORA, gain=1.5)
        self.tensor(block + "attn_kv_a_mqa.weight", LORA + ROPE, self.embed, gain=1.5)
        self.constant(block + "attn_kv_a_norm.weight", LORA)
        self.tensor(block + "attn_k_b.weight", self.q_heads, LORA, NOPE)
        self.tensor(block + "attn_v_b.weight", self.q_heads, MLA_V, LORA)
        self.tensor(block + "attn_output.weight", self.embed, self.q_heads * MLA_V)

    def recurrence(self, block):
        self.tensor(block + "ssm_in.weight", 2 * INNER, self.embed)
        self.tensor(block + "ssm_conv1d.weight", INNER, CONV)
        self.tensor(block + "ssm_conv1d.bias", INNER)
        self.tensor(block + "ssm_x.weight", RANK + 2 * STATE, INNER)
        self.tensor(block + "ssm_dt.weight", INNER, RANK)
        self.tensor(block + "ssm_dt.bias", INNER)
        self.constant(block + "ssm_a", INNER, STATE, value=-1.0)
        self.constant(block + "ssm_d", INNER)
        self.tensor(block + "ssm_out.weight", self.embed, INNER)

    def layer(self, index):
        block = f"blk.{index}."
        self.constant(block + "attn_norm.weight", self.embed)
        if self.kind == "mamba":
            self.recurrence(block)
            return
        if self.kind in ("window", "sinks"):
            self.constant(block + "post_attention_norm.weight", self.embed)
        if self.kind == "window":
            self.constant(block + "post_ffw_norm.weight", self.embed)
        if self.kind != "sinks":
            self.constant(block + "ffn_norm.weight", self.embed)
        if self.kind == "mla":
            self.compressed_attention(block)
        else:
            self.attention(block)
        if self.kind == "mixture":
            self.experts(block, FF)
        elif self.kind == "sinks":
            self.experts(block, EXPERT_FF, bias=True)
        elif self.kind == "mla" and index:
            self.experts(block, EXPERT_FF)
            self.dense(block, EXPERT_FF, "_shexp")
        else:
            self.dense(block)

    def write(self):
        self.numbers()
        vocabulary(self.writer)
        self.tensor("token_embd.weight", VOCABULARY, self.embed, gain=1.0 if self.kind == "window" else 4.0)
        self.constant("output_norm.weight", self.embed)
        if self.kind == "sinks":
            self.tensor("output.weight", VOCABULARY, self.embed, gain=4.0)
        for index in range(LAYERS):
            self.layer(index)
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


Model(*sys.argv[1:]).write()
