"""Looking at models: what they are made of, what flows through them, what they cost, and how they learn."""
