"""Backbones and heads: from token ids to representations, and from representations to scores."""
