"""Diffusion over windows of latents: what is noised, how it is learnt, how it is sampled into long videos.

Not here: the network (lvdm/models/denoiser.py), training loops (lvdm/training) and pixels.
"""
