"""What happens around training: callbacks, checkpoints, saved files, progress."""
