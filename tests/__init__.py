"""Tests on the real thing: the real model, real server processes, real files. The tree mirrors the packages."""
