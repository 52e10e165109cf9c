"""Pure computation: plans, masks, commitments, noise. Knows nothing above it."""
