"""The server's reports: its status, reasons for empty answers, figures, and progress."""
