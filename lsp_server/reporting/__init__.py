"""What the server says of itself: its status, reasons for silence, figures, and progress."""
