"""What agents remember: transitions with priorities, and complete trajectories."""
