"""Decide, before each reasoning step, how much test-time compute a task deserves."""
