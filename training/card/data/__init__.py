"""Examples for the card: gathered ahead, packed for travel, drawn there."""
