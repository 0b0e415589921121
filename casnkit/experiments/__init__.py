"""Experiments: ablation, claims, the paper's tables, shipped networks."""
