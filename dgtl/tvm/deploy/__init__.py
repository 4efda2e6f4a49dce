"""The whole network: built with the best schedules, timed, raced against others."""
