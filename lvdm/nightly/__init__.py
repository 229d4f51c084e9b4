"""The night: what is trusted is measured anew, held against its own history; and promotion, which says what is trusted.

Not here: how anything is sampled or measured (the stages), and the clock that starts it (pipelines/). Imports no torch.
"""
