"""What machines share on S3: runs that one of them made and the others fetch instead of making them again.

Not here: objects of S3 in general (lvdm/storage), and what a run is (lvdm/kept.py).
"""
