"""The frame around Hydra that every command shares."""
