"""What Dagster needs beyond assets: partitions, resources, jobs, schedules, sensors, checks."""
