"""Training runs in a folder: settings, activations, checkpoints, log, several processes.

`settings` (no torch) reads a configuration file or flags; `activations` opens or harvests the training data; `loop`
trains with checkpoints (`checkpoint`), a log (`metrics`) and a description of the run (`record`); `plan` estimates time
and memory; `processes` distributes a run over several processes.
"""
