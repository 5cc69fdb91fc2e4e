"""Search indexes: one file each, one YAML each in conf/index."""
