"""Teaching on a machine with one NVIDIA card and without network, for a few minutes; proven on the processor first."""
