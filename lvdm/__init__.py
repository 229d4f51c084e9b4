"""LVDM: latent video diffusion for long video (arXiv 2211.13221), as a library.

What is here knows nothing of Dagster or DVC: `assets/` and `pipelines/` build on this package, never the other way.
"""
