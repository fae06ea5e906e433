"""What a user may set, and the JSON schema of it."""
