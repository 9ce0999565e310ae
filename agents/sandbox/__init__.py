"""Programs of a model, run where they can do no harm: bubblewrap on a host, Landlock in a container, else not at all."""
