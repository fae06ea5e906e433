"""The model that is taught: in torch, with its adapter."""
