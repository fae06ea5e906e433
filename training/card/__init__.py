"""Training for a few minutes on a machine with one NVIDIA card and without network; tested on the CPU first."""
