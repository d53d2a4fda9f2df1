"""Runs that fail, through real Snakemake: tables show them as failed, and are whole again when what failed is mended."""

STUDY = """
# @package _global_
defaults:
  - override /data: local
  - override /task: [beir]
  - override /deploy: [torch_fp32, torchao_int8]
study:
  name: frail
  title: A study that fails
  question: Does training for int8 weights pay?
  baseline: baseline
  matrix: {{method: [untrained, baseline, hot], seed: [0, 1]}}
  decomposition: [baseline/torchao_int8]
  answers:
    - {{method: hot, against: baseline, deploy: torch_fp32}}
    - {{method: hot, against: baseline, figure: peak_memory_bytes}}
model: {{name: "{model}", max_seq_length: 32}}
data: {{path: "{files}/pairs.jsonl"}}
task: {{beir: {{path: "{files}/task"}}}}
trainer: {{batch_size: 16, learning_rate: 1.0e-3, threads: 1}}
encode: {{threads: 1}}
"""
