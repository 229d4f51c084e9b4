"""The networks: the video autoencoder, the denoiser, how they are kept on disk, and pretrained ones."""
