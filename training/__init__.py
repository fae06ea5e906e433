"""How the default model was taught to fill in the middle. Not part of the installed package."""
