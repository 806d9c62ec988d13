"""Float checkpoint to integer model: reading, observing, choosing scales, measuring."""
