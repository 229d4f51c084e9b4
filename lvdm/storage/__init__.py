"""S3: listing, fetching and publishing objects, each whole or not at all.

Not here: which objects are wanted; that is for who has a use for them (lvdm/shared, lvdm/data, ...).
"""
