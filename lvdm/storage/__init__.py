"""S3: listing, fetching and publishing objects, each whole or not at all; and what machines share there of stages.

Not here: which other objects are wanted; that is for who has a use for them (lvdm/data, lvdm/models/pretrained.py ...).
"""
