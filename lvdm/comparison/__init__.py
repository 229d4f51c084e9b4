"""Experiments side by side: which is best, by how much, by what they differ, and where each number comes from.

Not here: measuring them; that is lvdm/evaluation. Nothing in this package imports torch.
"""
