"""Base models, hardware and the engines that answer. Import this package before torch."""

import os

# By default an OpenMP thread that waits for its sibling spins. Beside a busy neighbour (a database, a web worker)
# that made one answer take 30 s instead of 1.6 s on two cores. The variable is read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Yet falling asleep after every matrix costs a seventh of the speed: spin for some microseconds first.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
