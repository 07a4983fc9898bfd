"""Words over any alphabet."""
