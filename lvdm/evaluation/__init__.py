"""What the samples are worth: feature networks, metrics, the protocol beside every number, drift over long videos.

Not here: ranking one experiment against another; that is lvdm/comparison.
"""
