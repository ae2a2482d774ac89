"""The command line: wires core, storage and the other doors together."""
