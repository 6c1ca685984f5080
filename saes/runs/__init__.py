"""Training as a run: settings from a file or flags, activations, a folder that survives a kill, several processes.

`settings` (no torch) says what is run; `activations` opens or harvests what is trained on; `loop` trains with
checkpoints (`checkpoint`), a log (`metrics`) and a record of what the run is (`record`); `plan` says what it will
take; `processes` shares it among several processes.
"""
