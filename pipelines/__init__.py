"""What runs the assets: definitions, runners, jobs, schedules. Not here: what an asset or a stage is."""
