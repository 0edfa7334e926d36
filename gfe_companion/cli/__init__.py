"""The commands: arguments, environment, pipeline and bench."""
