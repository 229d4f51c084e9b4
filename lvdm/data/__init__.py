"""From files of any kind to tensors: sources, videos, the manifest and its gate, clips and the latent cache."""
