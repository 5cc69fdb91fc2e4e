"""Invented device: real training steps on an accelerator that isn't there."""
