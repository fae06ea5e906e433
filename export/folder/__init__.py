"""The folder that an export leaves: put in its place whole or not at all, with a card."""
