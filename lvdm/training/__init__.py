"""Training: fitting the networks of lvdm/models, resumable to the bit."""
