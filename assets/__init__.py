"""The pipeline's artefacts as Dagster assets: a module a group, a body that runs a stage and returns its report.

Not here: what a stage computes (lvdm/), and what runs the assets when (pipelines/).
"""
