"""Segmind's own client against the emulator."""
