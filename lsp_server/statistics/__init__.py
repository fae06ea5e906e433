"""What became of suggestions: events in a file of the user's, the figures of them, and what the gate learns.

Never text of a document: numbers, and the names of languages, models and reasons.
"""
