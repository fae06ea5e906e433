"""Where a suggestion ends, and how its text is made to fit the document."""
