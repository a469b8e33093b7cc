"""What vlbench uses of the operating system: streams, signals, child processes and temporary folders."""
