"""The networks: the video autoencoder, the denoiser, and how they are kept on disk."""
