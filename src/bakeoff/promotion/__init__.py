"""Who gets it: a plan of stages that moves the default allocation and the registry alias."""
